//go:build linux

// Package ctnetlink reads conntrack's own account of itself from the kernel:
// the statistics of a network namespace, per CPU. It asks the kernel directly
// (NFNL_SUBSYS_CTNETLINK), since no library knows all of the counters.
//
// It changes nothing: in particular it never makes the kernel load a module.
package ctnetlink
