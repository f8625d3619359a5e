/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * From a loss to an event on the ring. Every loss is counted, exactly; then
 * the filter, the rate and the ring may each keep it from being shown, and
 * each of them counts what it kept.
 */
#ifndef __CTWHY_EMIT_H__
#define __CTWHY_EMIT_H__

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 22);
	__type(value, struct event);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 2048);
	__type(key, struct tally_key);
	__type(value, struct tally);
} tallies SEC(".maps");

struct misses missed;

/*
 * User space sets it once everything is attached, and clears it before it
 * detaches: attaching takes long enough for losses to be seen by one hook and
 * not yet by another, and for the kernel's counters to move.
 */
__u32 counting;

/*
 * The second that a reason's budget is for, and how much of it is used. CPUs
 * may overshoot it by one event each: two that read the last free place at
 * once both take it. An empty one is looked at again once a tick, so that a
 * flood need not read the clock.
 */
struct budget {
	__u64 second;
	__u64 used;
	__u64 tick; /* when it was found empty, in jiffies */
};
struct budget budgets[REASON_END];

/* A loss, as the hooks describe it. */
struct loss {
	struct net *net;
	const struct nf_conntrack_tuple *orig; /* either where it stands in the kernel, */
	const struct tuple *read;	       /* or read before it went */
	enum reason reason;
	bool netlink;
};

static __always_inline void loss_tuple(const struct loss *loss, struct tuple *to)
{
	if (loss->read)
		*to = *loss->read;
	else
		read_tuple(to, loss->orig);
}

static __always_inline bool wanted(const struct loss *loss, __u32 netns)
{
	struct tuple orig;

	if (config.netns && config.netns != netns)
		return false;
	if (!(config.reasons & (1 << loss->reason)))
		return false;
	if (!config.match_tuple)
		return true;
	loss_tuple(loss, &orig);
	return tuple_matches(&orig);
}

static __always_inline struct tally *tally_of(const struct loss *loss, __u32 netns)
{
	struct tally_key key = { .netns = netns, .reason = loss->reason };
	struct tally *tally, zero = {};

	tally = bpf_map_lookup_elem(&tallies, &key);
	if (tally)
		return tally;
	bpf_map_update_elem(&tallies, &key, &zero, BPF_NOEXIST);
	return bpf_map_lookup_elem(&tallies, &key);
}

/* Whether the budget is known to be empty, without reading the clock. */
static __always_inline bool known_empty(enum reason reason)
{
	return config.rate && budgets[reason].tick == bpf_jiffies64();
}

static __always_inline bool within_rate(enum reason reason, __u64 now)
{
	struct budget *budget = &budgets[reason];
	__u64 second = now / 1000000000;

	if (!config.rate)
		return true;
	if (budget->second != second) {
		budget->second = second;
		budget->used = 0;
	}
	if (budget->used >= config.rate) {
		budget->tick = bpf_jiffies64();
		return false;
	}
	__sync_fetch_and_add(&budget->used, 1);
	return true;
}

/*
 * Counts a loss, and reserves an event for it if it is to be shown. The
 * caller fills in what it knows beyond the loss and submits it.
 *
 * The counters are added to atomically although each CPU has its own: a
 * softirq may interrupt the task that is counting.
 */
static __always_inline struct event *begin_event(const struct loss *loss)
{
	__u32 netns = netns_inum(loss->net);
	struct tally *tally;
	struct event *event;
	__u64 now;

	if (!counting)
		return NULL;
	tally = tally_of(loss, netns);
	if (!tally) {
		__sync_fetch_and_add(&missed.netns, 1);
		return NULL;
	}
	__sync_fetch_and_add(&tally->count, 1);
	if (loss->netlink)
		__sync_fetch_and_add(&tally->netlink, 1);
	if (!wanted(loss, netns)) {
		__sync_fetch_and_add(&tally->filtered, 1);
		return NULL;
	}
	if (known_empty(loss->reason) ||
	    !within_rate(loss->reason, now = bpf_ktime_get_boot_ns())) {
		__sync_fetch_and_add(&tally->suppressed, 1);
		return NULL;
	}
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		__sync_fetch_and_add(&tally->lost, 1);
		return NULL;
	}

	__builtin_memset(event, 0, sizeof(*event));
	event->time = now;
	event->netns = netns;
	event->reason = loss->reason;
	event->cpu = bpf_get_smp_processor_id();
	loss_tuple(loss, &event->orig);
	if (loss->netlink)
		event->has |= HAS_NETLINK;
	if (table_count(loss->net, &event->count))
		event->has |= HAS_TABLE;
	if (table_max(&event->max))
		event->has |= HAS_MAX;
	return event;
}

#endif /* __CTWHY_EMIT_H__ */
