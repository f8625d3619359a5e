/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Confirmation: an entry's insertion into the table, and clashes at it. */
#ifndef __CTWHY_CONFIRM_H__
#define __CTWHY_CONFIRM_H__

/* The limit came in Linux 5.15, with a counter of its own. */
#define HAS_CHAIN_LIMIT bpf_core_field_exists(((struct ip_conntrack_stat *)0)->chaintoolong)

/*
 * A clash in progress, by its packet. The loser is read before the clash is
 * resolved, since a merge frees it.
 */
struct clash {
	struct nf_conn *ct;
	struct net *net;
	struct entry loser;
	bool dropped;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, struct clash);
} clashes SEC(".maps");

static __always_inline void note_clash(struct clash *clash, struct sk_buff *skb)
{
	struct nf_conn *ct = skb_ct(skb);

	clash->ct = ct;
	clash->net = BPF_CORE_READ(ct, ct_net.net);
	clash->dropped = false;
	read_entry(&clash->loser, ct);
}

static __always_inline int on_clash(struct sk_buff *skb)
{
	__u64 key = (__u64)skb;
	struct clash clash = {};

	if (!counting)
		return 0;
	note_clash(&clash, skb);
	bpf_map_update_elem(&clashes, &key, &clash, BPF_ANY);
	return 0;
}

static __always_inline enum reason how_clash_ended(struct clash *clash, struct sk_buff *skb,
						   int verdict)
{
	if (verdict == NF_DROP)
		return REASON_CLASH_DROPPED;
	if (skb_ct(skb) == clash->ct)
		return REASON_CLASH_REPLY_ONLY;
	return REASON_CLASH_MERGED;
}

/* The locks of both hash buckets are still held, so the winner stays. */
static __always_inline int on_clash_resolved(struct sk_buff *skb, struct nf_conntrack_tuple_hash *h,
					     int verdict)
{
	__u64 key = (__u64)skb;
	struct clash *clash = bpf_map_lookup_elem(&clashes, &key);
	struct loss loss = {};
	struct event *event;

	if (!clash)
		return unpaired();
	loss.net = clash->net;
	loss.read = &clash->loser.orig;
	loss.reason = how_clash_ended(clash, skb, verdict);
	event = begin_event(&loss);
	if (event) {
		event->reply = clash->loser.reply;
		event->zone = clash->loser.zone;
		read_entry(&event->entry, hash_to_ct(h));
		event->has |= HAS_REPLY | HAS_ENTRY;
		read_confirming(event, skb);
		bpf_ringbuf_submit(event, 0);
	}
	/* __nf_conntrack_confirm is about to return the same verdict. */
	if (verdict == NF_DROP)
		clash->dropped = true;
	else
		bpf_map_delete_elem(&clashes, &key);
	return 0;
}

/*
 * Where the kernel spoils the extensions of unconfirmed entries when one of
 * its modules is unloaded, it refuses such an entry too: insert_failed, as for
 * a long chain, but no chaintoolong.
 */
static __always_inline bool has_stale_extensions(struct nf_conn *ct)
{
	struct nf_ct_ext *ext = NULL;
	__u32 genid, current;

	if (!bpf_core_field_exists(ext->gen_id) || !config.ext_genid)
		return false;
	ext = BPF_CORE_READ(ct, ext);
	if (!ext)
		return false;
	genid = BPF_CORE_READ(ext, gen_id);
	return genid &&
	       !bpf_probe_read_kernel(&current, sizeof(current), (void *)config.ext_genid) &&
	       genid != current;
}

/*
 * Confirmation refused a packet. A clash has told its own story already. An
 * entry that is confirmed after all belongs to another packet that shares it;
 * that moves no counter that is told here.
 */
static SLOW_PATH int on_confirm_refused(struct sk_buff *skb)
{
	__u64 key = (__u64)skb;
	struct clash *clash = bpf_map_lookup_elem(&clashes, &key);
	struct nf_conn *ct = skb_ct(skb);
	struct loss loss = {};
	unsigned long status;
	struct event *event;

	if (clash && clash->dropped) {
		bpf_map_delete_elem(&clashes, &key);
		return 0;
	}
	if (!ct)
		return 0;
	status = BPF_CORE_READ(ct, status);
	if (status & IPS_CONFIRMED)
		return 0;
	if (status & IPS_DYING)
		loss.reason = REASON_DYING;
	else if (HAS_CHAIN_LIMIT && !has_stale_extensions(ct))
		loss.reason = REASON_CHAIN_TOO_LONG;
	else
		return 0;
	loss.net = BPF_CORE_READ(ct, ct_net.net);
	loss.orig = ct_tuple(ct, 0);
	event = begin_event(&loss);
	if (!event)
		return 0;
	read_tuple(&event->reply, ct_tuple(ct, 1));
	event->zone = ct_zone(ct);
	event->has |= HAS_REPLY;
	read_confirming(event, skb);
	bpf_ringbuf_submit(event, 0);
	return 0;
}

#endif /* __CTWHY_CONFIRM_H__ */
