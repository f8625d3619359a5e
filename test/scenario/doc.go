// Package scenario proves ctwhy against real kernels: each test provokes one
// way in which conntrack loses a packet, by a workload that knows what it sent
// and what became of it, and compares three witnesses: the workload itself,
// the kernel's counters as Debian's conntrack(8) prints them, and what ctwhy
// said. Nothing of ctwhy's own code is used here, so that the tests also hold
// the command line and the JSON to their contract.
//
// The tests change global sysctls, unload modules and starve the machine of
// memory, so they run as root inside a throw-away VM only (test/vm) and refuse
// to run anywhere else:
//
//	CGO_ENABLED=0 go test -c -tags guest -o scenario.test ./test/scenario
//
// The guest needs iproute2's ip, nft, conntrack, insmod and modprobe, the
// program under test at /ctwhy and, for TestDying, /lib/ctwhy_dying.ko. With
// -bare the workloads run without ctwhy and only the kernel's counters are
// checked: the way to see whether a new kernel still loses packets as
// expected.
package scenario
