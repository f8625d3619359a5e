/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Which flows the user asked to see, decided here so that the others cost no more. */
#ifndef __CTWHY_FILTER_H__
#define __CTWHY_FILTER_H__

static __always_inline bool prefix_matches(const __u8 *addr, const volatile __u8 *want,
					   const volatile __u8 *mask)
{
	int i;

	for (i = 0; i < 16; i++)
		if ((addr[i] ^ want[i]) & mask[i])
			return false;
	return true;
}

static __always_inline bool tuple_matches(const struct tuple *t)
{
	if (config.family && t->family != config.family)
		return false;
	if (config.match_proto && t->proto != config.proto)
		return false;
	if (config.sport && t->sport != config.sport)
		return false;
	if (config.dport && t->dport != config.dport)
		return false;
	return prefix_matches(t->src, config.src, config.src_mask) &&
	       prefix_matches(t->dst, config.dst, config.dst_mask);
}

#endif /* __CTWHY_FILTER_H__ */
