/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * The wire: what the programs send to user space, and what user space tells
 * them before they are loaded. bpf2go makes the Go types from this file; it
 * is the only definition. Widest members first and padding written out, so
 * that the layout has no holes for stack bytes to leak through.
 */
#ifndef __CTWHY_EVENT_H__
#define __CTWHY_EVENT_H__

enum reason {
	REASON_TABLE_FULL = 1,
	REASON_NO_MEMORY,
	REASON_EVICTED,
	REASON_CLASH_DROPPED,
	REASON_CLASH_MERGED,
	REASON_CLASH_REPLY_ONLY,
	REASON_CHAIN_TOO_LONG,
	REASON_DYING,
	REASON_END,
};

/* What an event carries: members without their bit hold no meaning. */
enum has {
	HAS_NETLINK = 1 << 0, /* an insert by ctnetlink, not by a packet */
	HAS_TABLE = 1 << 1,   /* count */
	HAS_MAX = 1 << 2,     /* max */
	HAS_PACKET = 1 << 3,  /* hook, in, out, mark */
	HAS_TCP_FLAGS = 1 << 4,
	HAS_OWNER = 1 << 5, /* pid, comm */
	HAS_ENTRY = 1 << 6, /* entry: a clash's winner, an eviction's victim */
	HAS_REPLY = 1 << 7,
};

enum {
	NAME_LEN = 16, /* IFNAMSIZ and TASK_COMM_LEN */
};

/* struct nf_conntrack_tuple, without its union. */
struct tuple {
	__u8 src[16]; /* IPv4 in the first four octets */
	__u8 dst[16];
	__u16 sport; /* network byte order; ICMP's id */
	__u16 dport; /* network byte order; ICMP's type and code, an octet each */
	__u8 family; /* NFPROTO_IPV4 or NFPROTO_IPV6 */
	__u8 proto;
	__u8 pad[2];
};

struct entry {
	struct tuple orig;
	struct tuple reply;
	__u32 status; /* enum ip_conntrack_status, as a bit mask */
	__u32 mark;
	__u16 zone;
	__u8 pad[6];
};

struct event {
	__u64 time; /* CLOCK_BOOTTIME, ns */
	struct tuple orig;
	struct tuple reply;
	struct entry entry;
	__u32 netns; /* inode */
	__u32 count; /* entries in this netns's table */
	__u32 max;   /* nf_conntrack_max */
	__u32 cpu;
	__u32 mark; /* skb mark */
	__u32 pid;  /* thread group, in the initial pid namespace */
	__u32 iif;  /* skb_iif, where in[] could not be read */
	__u16 zone;
	__u8 reason;
	__u8 has;
	__u8 hook; /* enum nf_inet_hooks */
	__u8 tcp_flags;
	__u8 pad[6];
	__u8 in[NAME_LEN];
	__u8 out[NAME_LEN];
	__u8 comm[NAME_LEN];
};

/* Exact counts, for each netns and reason, on each CPU. They only grow. */
struct tally_key {
	__u32 netns;
	enum reason reason;
};

struct tally {
	__u64 count;	  /* all */
	__u64 netlink;	  /* of them, inserts by ctnetlink */
	__u64 filtered;	  /* of count: the filter did not ask for it */
	__u64 suppressed; /* of count: over the rate */
	__u64 lost;	  /* of count: the ring buffer was full */
};

/* What the machinery missed, in all netns. They only grow. */
struct misses {
	__u64 netns;	/* no room for another (netns, reason) */
	__u64 unpaired; /* a failing return whose entry had not been seen */
};

/* Set once, before the programs are loaded. Addresses are 0 when unknown. */
struct settings {
	__u64 conntrack_max;	/* address of unsigned int nf_conntrack_max */
	__u64 conntrack_net_id; /* address of unsigned int nf_conntrack_net_id */
	__u64 ext_genid;	/* address of atomic_t nf_conntrack_ext_genid */
	__u64 per_cpu_offset;	/* address of unsigned long __per_cpu_offset[] */
	__u64 preempt_count;	/* per-CPU address of the preempt count (x86) */
	__u64 rate;		/* events a second and reason; 0: no limit */
	__u32 max_cpus;		/* entries of __per_cpu_offset[] */
	__u32 netns;		/* the filter from here on; 0: any */
	__u32 reasons;		/* 1 << reason, for each that is wanted */
	__u8 src[16];
	__u8 src_mask[16];
	__u8 dst[16];
	__u8 dst_mask[16];
	__u16 sport; /* network byte order, 0: any */
	__u16 dport;
	__u8 family; /* 0: any */
	__u8 proto;  /* valid with match_proto */
	__u8 match_proto;
	__u8 match_tuple; /* whether anything of the tuple is filtered */
	__u8 pad[4];
};

#endif /* __CTWHY_EVENT_H__ */
