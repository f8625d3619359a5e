/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * What a context is in the middle of, so that one hook can know what an outer
 * or an earlier one saw. The key is the task and whether a softirq is being
 * served: a softirq borrows whatever task it interrupted, and may run the
 * same functions that the task was in. Within one such context conntrack's
 * functions nest but never recurse, and unlike the CPU's number it stays with
 * a task that migrates.
 */
#ifndef __CTWHY_SCOPE_H__
#define __CTWHY_SCOPE_H__

struct scope {
	struct sk_buff *skb; /* the last packet on its way into conntrack */
	struct nf_hook_state *state;
	__u64 noted;	 /* when the budget was last found empty before that */
	struct net *net; /* early_drop's arguments, of the last call */
	__u32 hash;
	__u32 victims;	 /* how many it has evicted */
	bool early_drop; /* and whether its allocation goes on */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct scope);
} scopes SEC(".maps");

static __always_inline __u64 scope_key(void)
{
	return bpf_get_current_task() | serving_softirq(); /* tasks are aligned */
}

static __always_inline struct scope *scope_find(void)
{
	__u64 key = scope_key();

	return bpf_map_lookup_elem(&scopes, &key);
}

static __always_inline struct scope *scope_find_or_make(void)
{
	__u64 key = scope_key();
	struct scope *scope = bpf_map_lookup_elem(&scopes, &key);
	struct scope empty = {};

	if (scope)
		return scope;
	bpf_map_update_elem(&scopes, &key, &empty, BPF_ANY);
	return bpf_map_lookup_elem(&scopes, &key);
}

#endif /* __CTWHY_SCOPE_H__ */
