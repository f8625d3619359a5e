/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* From the kernel's tuples and entries to the wire's. */
#ifndef __CTWHY_TUPLE_H__
#define __CTWHY_TUPLE_H__

static __always_inline void read_tuple(struct tuple *to, const struct nf_conntrack_tuple *from)
{
	__builtin_memset(to, 0, sizeof(*to));
	BPF_CORE_READ_INTO(&to->src, from, src.u3);
	BPF_CORE_READ_INTO(&to->dst, from, dst.u3);
	to->sport = BPF_CORE_READ(from, src.u.all);
	to->dport = BPF_CORE_READ(from, dst.u.all);
	to->family = BPF_CORE_READ(from, src.l3num);
	to->proto = BPF_CORE_READ(from, dst.protonum);
}

static __always_inline const struct nf_conntrack_tuple *ct_tuple(struct nf_conn *ct, int dir)
{
	return dir ? &ct->tuplehash[1].tuple : &ct->tuplehash[0].tuple;
}

static __always_inline __u16 ct_zone(struct nf_conn *ct)
{
	if (!bpf_core_field_exists(ct->zone))
		return 0;
	return BPF_CORE_READ(ct, zone.id);
}

static __always_inline void read_entry(struct entry *to, struct nf_conn *ct)
{
	read_tuple(&to->orig, ct_tuple(ct, 0));
	read_tuple(&to->reply, ct_tuple(ct, 1));
	to->status = BPF_CORE_READ(ct, status);
	to->mark = bpf_core_field_exists(ct->mark) ? BPF_CORE_READ(ct, mark) : 0;
	to->zone = ct_zone(ct);
	__builtin_memset(to->pad, 0, sizeof(to->pad));
}

/* The entry that a hash node belongs to; each entry has a node for each direction. */
static __always_inline struct nf_conn *hash_to_ct(struct nf_conntrack_tuple_hash *h)
{
	struct nf_conn *ct = NULL;

	if (BPF_CORE_READ(h, tuple.dst.dir))
		return (void *)h - bpf_core_field_offset(ct->tuplehash[1]);
	return (void *)h - bpf_core_field_offset(ct->tuplehash[0]);
}

#endif /* __CTWHY_TUPLE_H__ */
