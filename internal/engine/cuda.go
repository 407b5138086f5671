package engine

import (
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

// Flags of XLA: for [CUDASetup.Data], and for the size of products, in MB, up to which those
// that share an operand become one. The other operands are then copied side by side, which
// for a router beside a projection is a second copy of the base's weight (docs/gpu.md).
const (
	dataFlag  = "--xla_gpu_cuda_data_dir"
	mergeFlag = "--xla_gpu_dot_merger_threshold_mb"
)

// Environment returns what must stand in the environment when the process starts, since
// the dynamic linker reads its path only then: LD_LIBRARY_PATH of a CUDA plugin with
// libraries in folders of their own, and XLA_FLAGS. What is set already stays. Nothing where all stands there already,
// or where there is no GPU or no plugin.
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
	had := os.Getenv("XLA_FLAGS")
	flags := had
	if s.Data != "" && !strings.Contains(flags, dataFlag) {
		flags += " " + dataFlag + "=" + s.Data
	}
	if !strings.Contains(flags, mergeFlag) {
		flags += " " + mergeFlag + "=0"
	}
	if flags != had {
		change["XLA_FLAGS"] = strings.TrimSpace(flags)
	}
	return change
}
