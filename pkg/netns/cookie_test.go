//go:build linux

package netns

import "testing"

func TestCookieIsTheNamespaces(t *testing.T) {
	first, err := Cookie()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Cookie()
	if err != nil || first != again {
		t.Errorf("%d, then %d, %v", first, again, err)
	}
	var other uint64
	if err := namespace(t).Do(func() error { other, err = Cookie(); return err }); err != nil {
		t.Fatal(err)
	}
	if first != 0 && other == first {
		t.Errorf("two namespaces have the cookie %d", first)
	}
}
