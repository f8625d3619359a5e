package main

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/ctwhy/ctwhy/pkg/event"
	"github.com/ctwhy/ctwhy/pkg/netns"
	"github.com/ctwhy/ctwhy/pkg/probe"
)

// filterFlags are the filters, with conntrack(8)'s letters and long names.
func filterFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "protonum", Aliases: []string{"p"}, Usage: "layer 4 `PROTO` by name or number, like conntrack's -p"},
		&cli.StringFlag{Name: "src", Aliases: []string{"s", "orig-src"}, Usage: "original source `ADDRESS[/LENGTH]`"},
		&cli.StringFlag{Name: "dst", Aliases: []string{"d", "orig-dst"}, Usage: "original destination `ADDRESS[/LENGTH]`"},
		&cli.StringFlag{Name: "sport", Aliases: []string{"orig-port-src"}, Usage: "original source `PORT`, with -p"},
		&cli.StringFlag{Name: "dport", Aliases: []string{"orig-port-dst"}, Usage: "original destination `PORT`, with -p"},
		&cli.StringFlag{Name: "family", Aliases: []string{"f"}, Usage: "`FAMILY`: ipv4 or ipv6"},
		&cli.StringFlag{Name: "netns", Usage: "network namespace by `NAME|PATH|INODE`"},
		&cli.StringFlag{Name: "reason", Usage: "`REASONS`, with commas between: " + reasonList()},
	}
}

func reasonList() string {
	var names []string
	for _, r := range event.Reasons() {
		names = append(names, r.String())
	}
	return strings.Join(names, ", ")
}

// parseFilter takes the filters apart. An unknown namespace is no usage error:
// the same line is right once the namespace is there.
func parseFilter(c *cli.Context) (probe.Filter, error) {
	var (
		f   probe.Filter
		err error
	)
	if f.Reasons, err = parseReasons(c.String("reason")); err != nil {
		return f, err
	}
	switch family := c.String("family"); family {
	case "":
	case "ipv4":
		f.Family = probe.IPv4
	case "ipv6":
		f.Family = probe.IPv6
	default:
		return f, usagef("-f %q: it is ipv4 or ipv6", family)
	}
	if c.IsSet("protonum") {
		proto, err := parseProto(c.String("protonum"))
		if err != nil {
			return f, err
		}
		f.Proto = &proto
	}
	if f.Src, err = parsePrefix("-s", c.String("src")); err != nil {
		return f, err
	}
	if f.Dst, err = parsePrefix("-d", c.String("dst")); err != nil {
		return f, err
	}
	if f.SrcPort, err = parsePort(f.Proto, "--sport", c.String("sport")); err != nil {
		return f, err
	}
	if f.DstPort, err = parsePort(f.Proto, "--dport", c.String("dport")); err != nil {
		return f, err
	}
	if err := f.Check(); err != nil {
		return f, &usageError{err}
	}
	if arg := c.String("netns"); arg != "" {
		ns, err := netns.Resolve(arg)
		if err != nil {
			return f, err
		}
		f.Netns = ns.ID
	}
	return f, nil
}

func parseProto(s string) (uint8, error) {
	for p := range 256 {
		if strings.EqualFold(s, event.ProtoName(uint8(p))) {
			return uint8(p), nil
		}
	}
	if n, err := strconv.ParseUint(s, 0, 8); err == nil {
		return uint8(n), nil
	}
	return 0, usagef("-p %q: it is tcp, udp, udplite, sctp, dccp, icmp, icmpv6, gre, or a number up to 255", s)
}

func parsePrefix(flag, s string) (netip.Prefix, error) {
	if s == "" {
		return netip.Prefix{}, nil
	}
	if !strings.Contains(s, "/") {
		if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
			a = a.Unmap()
			return netip.PrefixFrom(a, a.BitLen()), nil
		}
	} else if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), nil
	}
	return netip.Prefix{}, usagef("%s %q: it is an address, such as 10.0.0.1 or fd00::1, with or without /LENGTH", flag, s)
}

func parsePort(proto *uint8, flag, s string) (uint16, error) {
	if s == "" {
		return 0, nil
	}
	if proto == nil || !(event.Tuple{Proto: *proto}).HasPorts() {
		return 0, usagef("%s %s: ports need a protocol that has them, such as -p tcp", flag, s)
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, usagef("%s %q: it is a number from 1 to 65535", flag, s)
	}
	return uint16(n), nil
}
