package main

import (
	"os"
	"strings"
	"syscall"

	"alphalora/internal/engine"
)

// restart starts the program again, in the same process, where its environment lacks what
// the C library and the dynamic linker read at the start alone. Where that fails the
// program goes on without.
func restart() {
	change := engine.Environment()
	if tunables := withHugePages(os.Getenv("GLIBC_TUNABLES")); tunables != "" {
		if change == nil {
			change = map[string]string{}
		}
		change["GLIBC_TUNABLES"] = tunables
	}
	self, err := os.Executable()
	if err != nil || len(change) == 0 || os.Getenv(restarted) != "" {
		return
	}
	change[restarted] = "1"
	_ = syscall.Exec(self, os.Args, changed(os.Environ(), change))
}

// restarted marks the environment of a program that was started again: once is enough,
// whatever that environment lacks.
const restarted = "ALPHALORA_RESTARTED"

// changed is an environment with some variables set anew.
func changed(environment []string, change map[string]string) []string {
	var list []string
	for _, pair := range environment {
		name, _, _ := strings.Cut(pair, "=")
		if _, anew := change[name]; !anew {
			list = append(list, pair)
		}
	}
	for name, value := range change {
		list = append(list, name+"="+value)
	}
	return list
}

// tunable makes the C library ask the system for huge pages: the engine takes hundreds of
// megabytes afresh for each execution, and touching them in pages of 4 KiB costs a tenth
// of a training step on a CPU.
const tunable = "glibc.malloc.hugetlb"

// withHugePages adds that setting; empty where it is set already. Whoever sets it
// otherwise (to 0 for none) is left alone.
func withHugePages(set string) string {
	if strings.Contains(set, tunable) {
		return ""
	}
	if set != "" {
		set += ":"
	}
	return set + tunable + "=1"
}
