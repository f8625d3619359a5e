//go:build guest

package scenario

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// usersOf are the modules that use this one.
func usersOf(module string) (users []string) {
	users, _ = moduleState(module)
	return users
}

// moduleState reads /proc/modules: who uses this module, and whether it is
// there at all.
func moduleState(module string) (users []string, loaded bool) {
	b, err := os.ReadFile("/proc/modules")
	if err != nil {
		return nil, false
	}
	for line := range strings.Lines(string(b)) {
		// name size references users, ...
		f := strings.Fields(line)
		if len(f) < 4 || f[0] != module {
			continue
		}
		for _, u := range strings.Split(f[3], ",") {
			if u != "" && u != "-" {
				users = append(users, u)
			}
		}
		return users, true
	}
	return nil, false
}

// unload unloads a module and before it those that use it, and adds them to
// done in this order. It returns false where one is still busy: the last
// references of a netns that was deleted go a little later.
func unload(module string, done *[]string) bool {
	users, loaded := moduleState(module)
	if !loaded {
		return true
	}
	for _, u := range users {
		if !unload(u, done) {
			return false
		}
	}
	if err := unix.DeleteModule(module, unix.O_NONBLOCK); err != nil {
		return false
	}
	*done = append(*done, module)
	return true
}
