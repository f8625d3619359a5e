/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * The twins of a hook. fexit sees a function's arguments and its return value
 * together; a kretprobe sees the return value only, so its kprobe leaves the
 * arguments in a frame for it.
 *
 * A frame's key is where the function's return address lies on the stack:
 * the kprobe finds the stack pointer there, and at the kretprobe it is known
 * from the stack pointer after the return. No two running functions share
 * it, whichever CPU they have moved to and whatever interrupted them. The low
 * bits, which are zero, tell apart the functions.
 */
#ifndef __CTWHY_HOOK_H__
#define __CTWHY_HOOK_H__

enum hooked {
	HOOKED_ALLOC,
	HOOKED_RESOLVE_CLASH,
	HOOKED_CONFIRM,
};

struct frame {
	__u64 args[6];
	__u64 live;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct frame);
} frames SEC(".maps");

#if defined(__TARGET_ARCH_x86)
#define ARG6(ctx)   BPF_CORE_READ((ctx), r9)
#define RETURN_POPS 8 /* ret takes the return address off the stack */
#elif defined(__TARGET_ARCH_arm64)
#define ARG6(ctx)		PT_REGS_ARM64_ARG6(ctx)
#define PT_REGS_ARM64_ARG6(ctx) BPF_CORE_READ((const struct user_pt_regs *)(ctx), regs[5])
#define RETURN_POPS		0 /* the return address is in a register */
#endif

static __always_inline int frame_enter(struct pt_regs *ctx, enum hooked hooked)
{
	__u64 key = PT_REGS_SP(ctx) | hooked;
	struct frame *frame, fresh;

	fresh.args[0] = PT_REGS_PARM1(ctx);
	fresh.args[1] = PT_REGS_PARM2(ctx);
	fresh.args[2] = PT_REGS_PARM3(ctx);
	fresh.args[3] = PT_REGS_PARM4(ctx);
	fresh.args[4] = PT_REGS_PARM5(ctx);
	fresh.args[5] = ARG6(ctx);
	fresh.live = 1;
	/* Stacks are used again and again: the frame is mostly there already. */
	frame = bpf_map_lookup_elem(&frames, &key);
	if (frame)
		*frame = fresh;
	else
		bpf_map_update_elem(&frames, &key, &fresh, BPF_ANY);
	return 0;
}

/* The frame of the function that is returning; it is dead from now on. */
static __always_inline struct frame *frame_leave(struct pt_regs *ctx, enum hooked hooked)
{
	__u64 key = (PT_REGS_SP(ctx) - RETURN_POPS) | hooked;
	struct frame *frame = bpf_map_lookup_elem(&frames, &key);

	if (!frame || !frame->live)
		return NULL;
	frame->live = 0;
	return frame;
}

static __always_inline int unpaired(void)
{
	if (counting)
		__sync_fetch_and_add(&missed.unpaired, 1);
	return 0;
}

#endif /* __CTWHY_HOOK_H__ */
