package main

import (
	"os"
	"strings"
	"syscall"
)

// tunable makes the C library ask the system for huge pages: the engine takes hundreds of
// megabytes afresh for each execution, and touching them in pages of 4 KiB costs a tenth
// of a training step on a CPU.
const tunable = "glibc.malloc.hugetlb"

// hugePages starts the program again, in the same process, with that setting, which is
// read at the start alone. Whoever sets it otherwise (to 0 for none) is left alone, and
// where the start fails nothing is lost but the speed.
func hugePages() {
	set := os.Getenv("GLIBC_TUNABLES")
	if strings.Contains(set, tunable) {
		return
	}
	if set != "" {
		set += ":"
	}
	self, err := os.Executable()
	if err != nil {
		return
	}
	environment := []string{"GLIBC_TUNABLES=" + set + tunable + "=1"}
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "GLIBC_TUNABLES=") {
			environment = append(environment, pair)
		}
	}
	_ = syscall.Exec(self, os.Args, environment)
}
