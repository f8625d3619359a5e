// SPDX-License-Identifier: GPL-2.0
/*
 * ctwhy_dying - let new conntrack entries die before they are confirmed
 *
 * An entry that dies between its packet's lookup and its confirmation makes
 * __nf_conntrack_confirm() drop the packet. Since Linux 5.19 only a race within
 * one packet's way through the stack leads there, which no test can provoke. So
 * this module sets the bit that the race would set, on the entries of packets
 * that carry a given mark; what comes after is the kernel's own path.
 *
 * It is for the lab's virtual machines and for nothing else.
 */
#include <linux/module.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <linux/netfilter_ipv6.h>
#include <net/net_namespace.h>
#include <net/netfilter/nf_conntrack.h>

static uint mark = 0xdead;
module_param(mark, uint, 0644);
MODULE_PARM_DESC(mark, "mark of the packets whose new entries die (0xdead)");

static unsigned int set_dying(void *priv, struct sk_buff *skb,
			      const struct nf_hook_state *state)
{
	enum ip_conntrack_info info;
	struct nf_conn *ct = nf_ct_get(skb, &info);

	if (skb->mark == READ_ONCE(mark) && ct && !nf_ct_is_confirmed(ct))
		set_bit(IPS_DYING_BIT, &ct->status);
	return NF_ACCEPT;
}

/*
 * Last at LOCAL_OUT: after conntrack's lookup there, and after any rule that
 * sets the mark, but before POST_ROUTING, where the entry is confirmed.
 */
static const struct nf_hook_ops hooks[] = {
	{
		.hook		= set_dying,
		.pf		= NFPROTO_IPV4,
		.hooknum	= NF_INET_LOCAL_OUT,
		.priority	= NF_IP_PRI_LAST,
	},
	{
		.hook		= set_dying,
		.pf		= NFPROTO_IPV6,
		.hooknum	= NF_INET_LOCAL_OUT,
		.priority	= NF_IP6_PRI_LAST,
	},
};

static int __net_init hook_net(struct net *net)
{
	return nf_register_net_hooks(net, hooks, ARRAY_SIZE(hooks));
}

static void __net_exit unhook_net(struct net *net)
{
	nf_unregister_net_hooks(net, hooks, ARRAY_SIZE(hooks));
}

static struct pernet_operations dying_net_ops = {
	.init = hook_net,
	.exit = unhook_net,
};

static int __init dying_init(void)
{
	return register_pernet_subsys(&dying_net_ops);
}

static void __exit dying_exit(void)
{
	unregister_pernet_subsys(&dying_net_ops);
}

module_init(dying_init);
module_exit(dying_exit);
MODULE_DESCRIPTION("Let new conntrack entries die before they are confirmed (tests only)");
MODULE_LICENSE("GPL");
