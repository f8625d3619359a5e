/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * The kernel types that ctwhy's BPF programs read, and of each only the
 * members that they read. Every access is relocated at load time against the
 * running kernel's BTF (CO-RE), so neither the order of members nor their
 * offsets mean anything here: names and kinds do. That keeps the file short
 * enough to be read, and the same for every architecture.
 */
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

typedef signed char __s8;
typedef unsigned char __u8;
typedef short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;
typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __s32 s32;
typedef __u64 u64;
typedef __s64 s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef __u16 __sum16;
typedef unsigned int gfp_t;
typedef _Bool bool;

enum { false = 0, true = 1 };

/* include/uapi/linux/bpf.h: map types and flags that the programs name. */
enum bpf_map_type {
	BPF_MAP_TYPE_PERCPU_HASH = 5,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_RINGBUF = 27,
};

/* Only the ones whose presence is asked for. */
enum bpf_func_id {
	BPF_FUNC_task_pt_regs = 175,
};

enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* The registers at a probe: what libbpf's bpf_tracing.h takes apart. */
#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long r9;
	unsigned long r8;
	unsigned long ax;
	unsigned long cx;
	unsigned long dx;
	unsigned long si;
	unsigned long di;
	unsigned long ip;
	unsigned long sp;
	unsigned long bp;
};
#elif defined(__TARGET_ARCH_arm64)
struct user_pt_regs {
	__u64 regs[31];
	__u64 sp;
	__u64 pc;
	__u64 pstate;
};
struct pt_regs;
#endif

/* include/linux/sched.h; thread_info holds the preempt count on arm64 only. */
struct thread_info {
	int preempt_count;
};

struct socket;

/* include/linux/{fs,fdtable}.h */
struct file {
	void *private_data; /* of a socket: its struct socket */
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct task_struct {
	struct thread_info thread_info;
	void *stack;
	unsigned int flags;
	struct files_struct *files;
};

/* include/net/net_namespace.h, include/net/netns/{generic,conntrack}.h */
struct ns_common {
	unsigned int inum;
};

typedef struct {
	int counter;
} atomic_t;

struct net_generic;

struct netns_ct {
	atomic_t count; /* up to Linux 5.12 or so; then in struct nf_conntrack_net */
};

struct net {
	struct ns_common ns;
	struct net_generic *gen;
	struct netns_ct ct;
};

typedef struct {
	struct net *net;
} possible_net_t;

/* include/linux/netdevice.h */
struct net_device {
	char name[16];
	int ifindex;
};

/* include/net/{dst,route,ip6_fib}.h */
struct dst_entry {
	struct net_device *dev;
};

struct rtable {
	struct dst_entry dst;
	unsigned int rt_flags;
};

struct rt6_info {
	struct dst_entry dst;
	u32 rt6i_flags;
};

/* include/net/sock.h */
struct sock_common {
	volatile unsigned char skc_state;
};

struct sock {
	struct sock_common __sk_common;
	struct socket *sk_socket;
};

/* include/linux/skbuff.h */
struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	unsigned long _skb_refdst;
	unsigned long _nfct;
	unsigned int len;
	unsigned int data_len;
	int skb_iif;
	__u32 mark;
	__u16 network_header;
	unsigned int tail;
	unsigned char *head;
	unsigned char *data;
};

/* include/linux/netfilter.h; hook was an unsigned int up to Linux 5.10. */
struct nf_hook_state {
	u8 hook;
	struct net_device *in;
	struct net_device *out;
};

/* include/net/netfilter/nf_conntrack*.h */
union nf_inet_addr {
	__u32 all[4];
};

struct nf_conntrack_man {
	union nf_inet_addr u3;
	union {
		__be16 all;
	} u;
	u16 l3num;
};

struct nf_conntrack_tuple {
	struct nf_conntrack_man src;
	struct {
		union nf_inet_addr u3;
		union {
			__be16 all;
		} u;
		u8 protonum;
		u8 dir;
	} dst;
};

struct hlist_nulls_node {
	struct hlist_nulls_node *next;
};

struct nf_conntrack_tuple_hash {
	struct hlist_nulls_node hnnode;
	struct nf_conntrack_tuple tuple;
};

struct nf_conntrack_zone {
	u16 id;
};

struct nf_ct_ext {
	unsigned int gen_id; /* Linux 5.19 to 6.11 or so */
};

struct nf_conn {
	u32 timeout;
	struct nf_conntrack_zone zone;
	struct nf_conntrack_tuple_hash tuplehash[2];
	unsigned long status;
	possible_net_t ct_net;
	u32 mark;
	struct nf_ct_ext *ext;
};

/* chaintoolong came with the limit on the length of hash chains, Linux 5.15. */
struct ip_conntrack_stat {
	unsigned int chaintoolong;
};

#pragma clang attribute pop

#endif /* __VMLINUX_H__ */
