/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Whether the current task is the sender of a packet. Never a guess. */
#ifndef __CTWHY_SENDER_H__
#define __CTWHY_SENDER_H__

#if defined(__TARGET_ARCH_x86)
#define THREAD_SIZE	   16384 /* arch/x86/include/asm/page_64_types.h, without KASAN */
#define SYSCALL_ARG1(regs) BPF_CORE_READ((regs), di)
#elif defined(__TARGET_ARCH_arm64)
#define SYSCALL_ARG1(regs) BPF_CORE_READ((const struct user_pt_regs *)(regs), regs[0])
#endif

/* The registers with which the task entered the kernel. */
static __always_inline struct pt_regs *syscall_regs(struct task_struct *task)
{
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs))
		return (void *)bpf_task_pt_regs(bpf_get_current_task_btf());
#if defined(__TARGET_ARCH_x86)
	return BPF_CORE_READ(task, stack) + THREAD_SIZE - bpf_core_type_size(struct pt_regs);
#else
	return NULL;
#endif
}

/*
 * The current task sends on this socket if it is in process context, and in a
 * system call on a file descriptor (the first argument of connect, sendto,
 * sendmsg, write and their kin) that is this very socket. That leaves out
 * softirqs, kernel threads, a process that reinjects somebody else's packet
 * from an NFQUEUE, and io_uring, whose descriptor is the ring's.
 */
static __always_inline bool current_sends(struct sock *sk)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	s64 count = preempt_count();
	struct fdtable *fdt;
	struct pt_regs *regs;
	struct file *file = NULL;
	struct file **fds;
	__u64 fd;

	if (!sk || count < 0 || (count & (SOFTIRQ_SERVING | HARDIRQ_NMI_MASK)))
		return false;
	if (BPF_CORE_READ(task, flags) & PF_KTHREAD)
		return false;
	/* A request or time-wait socket is shorter than struct sock. */
	if (BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_TIME_WAIT ||
	    BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_NEW_SYN_RECV)
		return false;
	regs = syscall_regs(task);
	if (!regs)
		return false;
	fd = SYSCALL_ARG1(regs);
	fdt = BPF_CORE_READ(task, files, fdt);
	if (fd >= BPF_CORE_READ(fdt, max_fds))
		return false;
	fds = BPF_CORE_READ(fdt, fd);
	bpf_probe_read_kernel(&file, sizeof(file), fds + fd);
	return file && BPF_CORE_READ(file, private_data) == BPF_CORE_READ(sk, sk_socket);
}

#endif /* __CTWHY_SENDER_H__ */
