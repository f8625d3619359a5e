/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * The kernel's constants that BTF does not carry (they are macros), and small
 * readers for what conntrack and the running task look like.
 */
#ifndef __CTWHY_KERNEL_H__
#define __CTWHY_KERNEL_H__

/*
 * A function of its own, so that the programs that mostly have nothing to do
 * save no registers and make no room on the stack for it.
 */
#define SLOW_PATH __noinline

/* include/uapi/linux/netfilter.h */
#define NF_DROP		     0
#define NF_ACCEPT	     1
#define NF_INET_PRE_ROUTING  0
#define NF_INET_LOCAL_IN     1
#define NF_INET_LOCAL_OUT    3
#define NF_INET_POST_ROUTING 4
#define NFPROTO_IPV4	     2
#define NFPROTO_IPV6	     10

/* include/uapi/linux/netfilter/nf_conntrack_common.h */
#define IPS_CONFIRMED (1 << 3)
#define IPS_DYING     (1 << 9)
#define IPS_NAT_CLASH (1 << 12)

#define NFCT_PTRMASK	 (~7UL) /* include/linux/skbuff.h */
#define SKB_DST_PTRMASK	 (~1UL)
#define MAX_ERRNO	 4095	    /* include/linux/err.h */
#define PF_KTHREAD	 0x00200000 /* include/linux/sched.h */
#define SOFTIRQ_SERVING	 0x100	    /* include/linux/preempt.h: SOFTIRQ_OFFSET */
#define HARDIRQ_NMI_MASK 0xff0000
#define RTCF_LOCAL	 0x80000000 /* include/uapi/linux/in_route.h */
#define RTF_LOCAL	 0x80000000 /* include/uapi/linux/ipv6_route.h */
#define TCP_TIME_WAIT	 6	    /* include/net/tcp_states.h */
#define TCP_NEW_SYN_RECV 12

static __always_inline bool is_err(const void *p)
{
	return (unsigned long)p >= (unsigned long)-MAX_ERRNO;
}

static __always_inline __u32 netns_inum(struct net *net)
{
	return BPF_CORE_READ(net, ns.inum);
}

static __always_inline struct nf_conn *skb_ct(struct sk_buff *skb)
{
	return (struct nf_conn *)(BPF_CORE_READ(skb, _nfct) & NFCT_PTRMASK);
}

/*
 * How many entries the netns's table holds. Since Linux 5.13 or so the count
 * is in struct nf_conntrack_net, a type of the module that vmlinux's BTF does
 * not have: its first member, in every kernel so far.
 */
static __always_inline bool table_count(struct net *net, __u32 *count)
{
	void *gen, *pernet = NULL;
	__u32 id = 0;

	if (bpf_core_field_exists(net->ct.count)) {
		*count = BPF_CORE_READ(net, ct.count.counter);
		return true;
	}
	if (!config.conntrack_net_id ||
	    bpf_probe_read_kernel(&id, sizeof(id), (void *)config.conntrack_net_id))
		return false;
	gen = BPF_CORE_READ(net, gen);
	if (bpf_probe_read_kernel(&pernet, sizeof(pernet), gen + id * sizeof(void *)))
		return false;
	return !bpf_probe_read_kernel(count, sizeof(*count), pernet);
}

static __always_inline bool table_max(__u32 *max)
{
	return config.conntrack_max &&
	       !bpf_probe_read_kernel(max, sizeof(*max), (void *)config.conntrack_max);
}

/*
 * The preempt count says whether this is process context. On x86 it is a
 * per-CPU variable whose address user space looked up, on arm64 it is in
 * thread_info. -1: not known on this kernel.
 */
static __always_inline s64 preempt_count(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	__u32 cpu = bpf_get_smp_processor_id();
	unsigned long offset;
	int count;

	if (bpf_core_field_exists(task->thread_info.preempt_count))
		return (__u32)BPF_CORE_READ(task, thread_info.preempt_count);
	if (!config.preempt_count || !config.per_cpu_offset || cpu >= config.max_cpus)
		return -1;
	if (bpf_probe_read_kernel(&offset, sizeof(offset),
				  (void *)(config.per_cpu_offset + cpu * sizeof(offset))))
		return -1;
	if (bpf_probe_read_kernel(&count, sizeof(count), (void *)(config.preempt_count + offset)))
		return -1;
	return (__u32)count;
}

static __always_inline bool serving_softirq(void)
{
	s64 count = preempt_count();

	return count >= 0 && (count & SOFTIRQ_SERVING);
}

#endif /* __CTWHY_KERNEL_H__ */
