// Package matrix boots every kernel of the lab and runs the tests that need a
// real one there: those of test/scenario, and those of the lab itself.
//
// CTWHY_KERNEL and CTWHY_MODULES run them on one other kernel instead:
//
//	CTWHY_KERNEL=…/bzImage CTWHY_MODULES=…/lib/modules/6.6.1 go test ./test/matrix
package matrix
