//go:build linux

package netns

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Cookie is the number of the calling thread's network namespace that is never
// used again, unlike its inode number (SO_NETNS_COOKIE, socket(7)). It is 0
// before Linux 5.14, which does not tell.
func Cookie() (uint64, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open socket: %w", err)
	}
	defer unix.Close(fd)
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if errors.Is(err, unix.ENOPROTOOPT) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read netns cookie: %w", err)
	}
	return cookie, nil
}
