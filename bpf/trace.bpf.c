// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0
/*
 * Where connection tracking loses packets: one section for each kernel
 * function that is watched, its fexit program first, then the kprobe and
 * kretprobe that stand in for it. What they do is in headers/.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "event.h"

volatile const struct settings config = {};

/* An enum stays in BTF, for bpf2go, only if something is of its type. */
const enum has *unused_has __attribute__((unused));

#include "kernel.h"
#include "tuple.h"
#include "filter.h"
#include "emit.h"
#include "scope.h"
#include "hook.h"
#include "sender.h"
#include "packet.h"
#include "alloc.h"
#include "confirm.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/*
 * __nf_conntrack_alloc: every new entry, also ctnetlink's. Its callers are in
 * the same file, but it is too large to be inlined. An ERR_PTR means that the
 * packet is dropped. Softirq or process context.
 */
SEC("fexit/__nf_conntrack_alloc")
int BPF_PROG(alloc_fexit, struct net *net, const struct nf_conntrack_zone *zone,
	     const struct nf_conntrack_tuple *orig, const struct nf_conntrack_tuple *repl,
	     gfp_t gfp, __u32 hash, struct nf_conn *ret)
{
	if (is_err(ret))
		return on_alloc_failed(net, zone, orig, repl, hash);
	return early_drops ? on_alloc_done(net, hash) : 0;
}

SEC("kprobe/__nf_conntrack_alloc")
int alloc_kprobe(struct pt_regs *ctx)
{
	return frame_enter(ctx, HOOKED_ALLOC);
}

SEC("kretprobe/__nf_conntrack_alloc")
int alloc_kretprobe(struct pt_regs *ctx)
{
	struct frame *frame = frame_leave(ctx, HOOKED_ALLOC);
	bool failed = is_err((void *)PT_REGS_RC(ctx));

	if (!frame)
		return failed ? unpaired() : 0;
	if (failed)
		return on_alloc_failed((void *)frame->args[0], (void *)frame->args[1],
				       (void *)frame->args[2], (void *)frame->args[3],
				       frame->args[5]);
	return early_drops ? on_alloc_done((void *)frame->args[0], frame->args[5]) : 0;
}

/*
 * early_drop: the table is over its limit, look for something to evict.
 * noinline in every kernel, and called by __nf_conntrack_alloc only, whose
 * end tells how it went.
 */
SEC("fentry/early_drop")
int BPF_PROG(early_drop_fentry, struct net *net, unsigned int hash)
{
	return on_early_drop(net, hash);
}

SEC("kprobe/early_drop")
int early_drop_kprobe(struct pt_regs *ctx)
{
	return on_early_drop((void *)PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx));
}

/*
 * nf_ct_helper_destroy: the first thing done to an entry that leaves the
 * table, once for each. It stands in for nf_ct_delete, which compilers split:
 * on Debian's 5.10 and 7.2 early_drop calls nf_ct_delete.part.0, a function
 * that BTF does not know. This one is in another file, so it stays whole.
 */
SEC("fentry/nf_ct_helper_destroy")
int BPF_PROG(unlinked_fentry, struct nf_conn *ct)
{
	return early_drops ? on_entry_unlinked(ct) : 0;
}

SEC("kprobe/nf_ct_helper_destroy")
int unlinked_kprobe(struct pt_regs *ctx)
{
	return early_drops ? on_entry_unlinked((void *)PT_REGS_PARM1(ctx)) : 0;
}

/*
 * nf_ct_resolve_clash: the tuple is in the table already. Cold and noinline
 * since Linux 5.10. Returns the packet's verdict; both buckets are locked.
 */
SEC("fentry/nf_ct_resolve_clash")
int BPF_PROG(clash_fentry, struct sk_buff *skb)
{
	return on_clash(skb);
}

SEC("fexit/nf_ct_resolve_clash")
int BPF_PROG(clash_fexit, struct sk_buff *skb, struct nf_conntrack_tuple_hash *h, __u32 reply_hash,
	     int ret)
{
	return on_clash_resolved(skb, h, ret);
}

SEC("kprobe/nf_ct_resolve_clash")
int clash_kprobe(struct pt_regs *ctx)
{
	frame_enter(ctx, HOOKED_RESOLVE_CLASH);
	return on_clash((void *)PT_REGS_PARM1(ctx));
}

SEC("kretprobe/nf_ct_resolve_clash")
int clash_kretprobe(struct pt_regs *ctx)
{
	struct frame *frame = frame_leave(ctx, HOOKED_RESOLVE_CLASH);

	if (!frame)
		return unpaired();
	return on_clash_resolved((void *)frame->args[0], (void *)frame->args[1],
				 (int)PT_REGS_RC(ctx));
}

/*
 * __nf_conntrack_confirm: a new entry's first packet is about to leave, the
 * entry goes into the table. Exported, so never inlined. Returns the verdict.
 */
SEC("fexit/__nf_conntrack_confirm")
int BPF_PROG(confirm_fexit, struct sk_buff *skb, int ret)
{
	return ret == NF_DROP ? on_confirm_refused(skb) : 0;
}

SEC("kprobe/__nf_conntrack_confirm")
int confirm_kprobe(struct pt_regs *ctx)
{
	return frame_enter(ctx, HOOKED_CONFIRM);
}

SEC("kretprobe/__nf_conntrack_confirm")
int confirm_kretprobe(struct pt_regs *ctx)
{
	struct frame *frame = frame_leave(ctx, HOOKED_CONFIRM);

	if ((int)PT_REGS_RC(ctx) != NF_DROP)
		return 0;
	return frame ? on_confirm_refused((void *)frame->args[0]) : unpaired();
}

/*
 * nf_conntrack_in: every packet, established ones too. Attached only while
 * detail is armed, to know the packet behind an allocation that fails.
 */
SEC("fentry/nf_conntrack_in")
int BPF_PROG(packet_fentry, struct sk_buff *skb, struct nf_hook_state *state)
{
	return on_packet(skb, state);
}

SEC("kprobe/nf_conntrack_in")
int packet_kprobe(struct pt_regs *ctx)
{
	return on_packet((void *)PT_REGS_PARM1(ctx), (void *)PT_REGS_PARM2(ctx));
}
