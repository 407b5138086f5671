package engine

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// needed is a library that XLA opens on a GPU by its name, and the pip package that has
// it; the names are those that JAX's plugin opens before it starts.
type needed struct {
	cuda          int // version of CUDA; 0: any
	library, pack string
}

var neededLibraries = []needed{
	{12, "libcudart.so.12", "nvidia-cuda-runtime-cu12"}, {13, "libcudart.so.13", "nvidia-cuda-runtime"},
	{12, "libcublas.so.12", "nvidia-cublas-cu12"}, {13, "libcublas.so.13", "nvidia-cublas"},
	{12, "libcublasLt.so.12", "nvidia-cublas-cu12"}, {13, "libcublasLt.so.13", "nvidia-cublas"},
	{12, "libcudnn.so.9", "nvidia-cudnn-cu12"}, {13, "libcudnn.so.9", "nvidia-cudnn-cu13"},
	{12, "libcupti.so.12", "nvidia-cuda-cupti-cu12"}, {13, "libcupti.so.13", "nvidia-cuda-cupti"},
	{12, "libcufft.so.11", "nvidia-cufft-cu12"}, {13, "libcufft.so.12", "nvidia-cufft"},
	{12, "libcusolver.so.11", "nvidia-cusolver-cu12"}, {13, "libcusolver.so.12", "nvidia-cusolver"},
	{12, "libcusparse.so.12", "nvidia-cusparse-cu12"}, {13, "libcusparse.so.12", "nvidia-cusparse"},
	{12, "libnvJitLink.so.12", "nvidia-nvjitlink-cu12"}, {13, "libnvJitLink.so.13", "nvidia-nvjitlink"},
	{12, "libnvrtc.so.12", "nvidia-cuda-nvrtc-cu12"}, {13, "libnvrtc.so.13", "nvidia-cuda-nvrtc"},
	{12, "libnccl.so.2", "nvidia-nccl-cu12"}, {13, "libnccl.so.2", "nvidia-nccl-cu13"},
	{12, "libnvshmem_host.so.3", "nvidia-nvshmem-cu12"}, {13, "libnvshmem_host.so.3", "nvidia-nvshmem-cu13"},
}

// systemLibraries is where CUDA's own installer and distributions put libraries.
var systemLibraries = []string{"/usr/local/cuda/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"}

// CUDASetup is the place of a CUDA plugin and of what it needs.
type CUDASetup struct {
	Plugin    string   `json:"plugin"`
	Version   int      `json:"cuda"`               // 12, 13, …; 0 where the path does not tell
	Libraries []string `json:"libraries"`          // directories with NVIDIA's libraries
	Data      string   `json:"data_dir,omitempty"` // where libdevice and ptxas are; empty: XLA looks by itself
	Missing   []string `json:"missing,omitempty"`  // "library (pip install PACKAGE)"
}

// SetupOf finds what lies beside a CUDA plugin.
func SetupOf(plugin string) CUDASetup {
	s := CUDASetup{Plugin: plugin, Version: cudaOf(plugin)}
	for _, root := range nvidiaRoots(plugin) {
		for _, pattern := range []string{"*/lib", "lib"} {
			found, err := filepath.Glob(filepath.Join(escapeGlob(root), pattern))
			if err == nil {
				s.Libraries = append(s.Libraries, found...)
			}
		}
	}
	s.Libraries = distinct(s.Libraries)
	s.Data = dataDir(plugin)
	places := slices.Concat(s.Libraries, absolute(filepath.SplitList(os.Getenv("LD_LIBRARY_PATH"))), systemLibraries)
	for _, n := range neededLibraries {
		held := func(dir string) bool {
			_, err := os.Stat(filepath.Join(dir, n.library))
			return err == nil
		}
		if n.cuda == s.Version && !slices.ContainsFunc(places, held) {
			s.Missing = append(s.Missing, fmt.Sprintf("%s (pip install %s)", n.library, n.pack))
		}
	}
	return s
}

// nvidiaRoots lists the folders "nvidia" that belong to a plugin: two levels above it in
// JAX's layout, above or around it in that of go-xla's installer.
func nvidiaRoots(plugin string) []string {
	var roots []string
	dir := filepath.Dir(plugin)
	for range 3 {
		if filepath.Base(dir) == "nvidia" {
			roots = append(roots, dir)
		}
		roots = append(roots, filepath.Join(dir, "nvidia"))
		dir = filepath.Dir(dir)
	}
	return slices.DeleteFunc(roots, func(root string) bool {
		info, err := os.Stat(root)
		return err != nil || !info.IsDir()
	})
}

// dataDir is the first folder that has CUDA's device library, which XLA links into what
// it compiles.
func dataDir(plugin string) string {
	var candidates []string
	for _, root := range nvidiaRoots(plugin) {
		for _, name := range []string{"cu13", "cuda_nvcc", "."} {
			candidates = append(candidates, filepath.Join(root, name))
		}
	}
	candidates = append(candidates, absolute([]string{os.Getenv("CUDA_ROOT"), os.Getenv("CUDA_HOME")})...)
	for _, dir := range append(candidates, "/usr/local/cuda") {
		if _, err := os.Stat(filepath.Join(dir, "nvvm", "libdevice", "libdevice.10.bc")); err == nil {
			return dir
		}
	}
	return ""
}

// xlaFlag is one of XLA's.
type xlaFlag struct{ name, value string }

// wanted are flags of XLA's GPU compiler that a step of training needs. What they change was
// seen in modules that bench/gpu_compile.py compiled (docs/gpu.md).
var wanted = []xlaFlag{
	// Products by cuBLAS alone: what an adapter adds is then added inside the base's product, and
	// no kernels are compiled and tried for each of the hundreds of shapes of product that layers
	// with unequal numbers of experts have.
	{"xla_gpu_enable_triton_gemm", "false"},
	// Products of one input are not made one: that copies the base's weights beside the routers'.
	{"xla_gpu_dot_merger_threshold_mb", "0"},
	// On several GPUs that scheduler puts off the products of all gradients until the backward pass has
	// ended, and every layer's inside is held for them, gradient checkpointing or not.
	{"xla_disable_hlo_passes", "latency-hiding-scheduler"},
}

// Environment returns what must stand in the environment when the process starts, since
// the dynamic linker and XLA read it only then: of a CUDA plugin with libraries in folders
// of their own, LD_LIBRARY_PATH, and XLA_FLAGS. Nothing where all stands there already,
// or where there is no GPU or no plugin. A flag that is set is left alone.
func Environment() map[string]string {
	if !GPUPresent() {
		return nil
	}
	plugin, err := Find(CUDA)
	if err != nil {
		return nil
	}
	return environmentOf(SetupOf(plugin))
}

func environmentOf(s CUDASetup) map[string]string {
	change := map[string]string{}
	have := filepath.SplitList(os.Getenv("LD_LIBRARY_PATH"))
	lacks := func(dir string) bool { return !slices.Contains(have, dir) }
	if slices.ContainsFunc(s.Libraries, lacks) {
		change["LD_LIBRARY_PATH"] = strings.Join(distinct(slices.Concat(s.Libraries, have)), string(filepath.ListSeparator))
	}
	before := os.Getenv("XLA_FLAGS")
	if flags := withFlags(before, s); flags != before {
		change["XLA_FLAGS"] = flags
	}
	return change
}

// withFlags adds to XLA's flags what is not set there: where CUDA's device library is, and
// those that are wanted and that the plugin knows. XLA ends a process that sets another.
func withFlags(set string, s CUDASetup) string {
	unset := slices.DeleteFunc(slices.Clone(wanted), func(f xlaFlag) bool { return strings.Contains(set, f.name) })
	add := knownTo(s.Plugin, unset)
	if dir := (xlaFlag{"xla_gpu_cuda_data_dir", s.Data}); s.Data != "" && !strings.Contains(set, dir.name) {
		add = append(add, dir)
	}
	for _, f := range add {
		set = strings.TrimSpace(set + " --" + f.name + "=" + f.value)
	}
	return set
}

// knownTo keeps the flags whose names stand in a plugin's file; none if it cannot be read.
func knownTo(plugin string, flags []xlaFlag) (known []xlaFlag) {
	file, err := os.Open(plugin)
	if err != nil || len(flags) == 0 {
		return nil
	}
	defer func() { _ = file.Close() }()
	const overlap = 64 // longer than a name that two pieces could part
	piece, kept := make([]byte, 1<<20), 0
	for err == nil && len(known) < len(flags) {
		var n int
		n, err = file.Read(piece[kept:])
		text := piece[:kept+n]
		for _, f := range flags {
			if !slices.Contains(known, f) && bytes.Contains(text, []byte(f.name)) {
				known = append(known, f)
			}
		}
		kept = copy(piece, text[max(0, len(text)-overlap):])
	}
	return known
}
