//go:build !linux

package main

// hugePages is a matter of Linux and its C library.
func hugePages() {}
