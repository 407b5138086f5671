//go:build linux

package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHugePagesAreAskedForOnce(t *testing.T) {
	require.Equal(t, "glibc.malloc.hugetlb=1", withHugePages(""))
	require.Equal(t, "glibc.x=2:glibc.malloc.hugetlb=1", withHugePages("glibc.x=2"))
	require.Empty(t, withHugePages("glibc.malloc.hugetlb=0"))
}

func TestChangedReplacesWholeNamesOnly(t *testing.T) {
	got := changed([]string{"A=1", "AB=2", "EMPTY="}, map[string]string{"A": "x=y"})
	require.Equal(t, []string{"AB=2", "EMPTY=", "A=x=y"}, got)
}
