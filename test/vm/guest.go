package vm

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// The guest sends one stream through its virtio port: what the command wrote,
// then a mark that no command can guess with how it ended, then a tar archive of
// the files asked for. One stream, so that nothing can overtake anything.

// newMark makes the mark of a run: a NUL, which text has none of, and a nonce.
func newMark() string {
	nonce := make([]byte, 12)
	rand.Read(nonce) // never fails
	return "\x00ctwhy-" + hex.EncodeToString(nonce) + " "
}

// script is the guest's /init.
func script(load []string, o Options, mark string) string {
	var s strings.Builder
	s.WriteString(`#!/bin/sh
export PATH=/usr/bin:/bin:/sbin HOME=/root TERM=dumb CTWHY_GUEST=1
mount -t proc proc /proc
echo -1000 >/proc/self/oom_score_adj # a command may run out of memory: who tells of it must not
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mkdir -p /run/netns
mount -t securityfs securityfs /sys/kernel/security 2>/dev/null
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
mount -t bpf bpf /sys/fs/bpf 2>/dev/null
mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null
ln -s /proc/self/fd /dev/fd
ln -s /proc/self/fd/0 /dev/stdin
ln -s /proc/self/fd/1 /dev/stdout
ln -s /proc/self/fd/2 /dev/stderr
hostname ctwhy-vm
`)
	fmt.Fprintf(&s, "end() { printf '\\000%%s%%s\\n' %s \"$*\"; }\n", quote(mark[1:]))
	s.WriteString("load() { insmod \"$1\" 2>&1 || failed=\"$failed $1\"; }\n")
	for _, file := range load {
		fmt.Fprintf(&s, "load %s\n", quote(file))
	}
	s.WriteString("ip link set lo up\n")
	stdin := "</dev/null"
	if o.Stdin != nil {
		// What is written shows the host, and waits, that the port is connected:
		// before that, a read would find its end.
		s.WriteString("exec 4<>/dev/vport0p2\necho >&4\n")
		stdin = "<&4"
	}
	command := make([]string, len(o.Command))
	for i, arg := range o.Command {
		command[i] = quote(arg)
	}
	out := slices.Sorted(maps.Keys(o.Out))
	for i, name := range out {
		out[i] = quote(strings.TrimPrefix(name, "/"))
	}
	fmt.Fprintf(&s, `main() {
	if [ -n "$failed" ]; then
		end "error cannot load$failed"
		return
	fi
	cd /root
	( echo 0 >/proc/self/oom_score_adj; exec %s ) %s
	end "exit $?"
	cd /
	tar -cf - %s 2>/dev/null
}
main 2>&1 | cat >/dev/vport0p1
# The host ends the machine when it has read everything. If the host is gone,
# so is its end of the port.
cat /dev/vport0p1 >/dev/null
poweroff -f
`, strings.Join(command, " "), stdin, strings.Join(append(out, "proc/version"), " "))
	return s.String()
}

// quote makes one word of the shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

var errNoMark = errors.New("the guest ended before its command did")

// demux copies what the command wrote to w until the mark, and returns how it
// ended. What follows the mark's line in r is left in the returned reader.
func demux(w io.Writer, r io.Reader, mark string) (exit int, rest io.Reader, err error) {
	var held []byte // not yet written: it may be the beginning of a mark
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		held = append(held, buf[:n]...)
		if i := bytes.Index(held, []byte(mark)); i >= 0 {
			if line, after, ok := bytes.Cut(held[i+len(mark):], []byte("\n")); ok {
				if _, err := w.Write(held[:i]); err != nil {
					return 0, nil, fmt.Errorf("write the command's output: %w", err)
				}
				exit, err := parseEnd(string(line))
				return exit, io.MultiReader(bytes.NewReader(after), r), err
			}
		} else if keep := partial(held, mark); keep < len(held) {
			if _, err := w.Write(held[:len(held)-keep]); err != nil {
				return 0, nil, fmt.Errorf("write the command's output: %w", err)
			}
			held = append(held[:0], held[len(held)-keep:]...)
		}
		if err != nil {
			w.Write(held) // the little that there is; the other error matters more
			return 0, nil, errNoMark
		}
	}
}

// partial is how many bytes at the end of b may be the beginning of mark.
func partial(b []byte, mark string) int {
	for n := min(len(b), len(mark)-1); n > 0; n-- {
		if strings.HasPrefix(mark, string(b[len(b)-n:])) {
			return n
		}
	}
	return 0
}

// parseEnd reads what follows the mark: "exit CODE" or "error TEXT".
func parseEnd(line string) (exit int, err error) {
	kind, value, _ := strings.Cut(line, " ")
	switch kind {
	case "exit":
		if exit, err = strconv.Atoi(value); err == nil {
			return exit, nil
		}
	case "error":
		return 0, fmt.Errorf("guest: %s", value)
	}
	return 0, fmt.Errorf("guest: strange end %q", line)
}
