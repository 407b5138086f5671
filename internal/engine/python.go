package engine

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A machine with a GPU often has a Python environment with JAX and nothing else. JAX's
// plugin is a PJRT plugin like any other:
//
//	site-packages/jax_plugins/xla_cuda13/xla_cuda_plugin.so    the plugin, by CUDA's version
//	site-packages/nvidia/cu13/lib/*.so*                        CUDA's libraries (CUDA 13)
//	site-packages/nvidia/{cublas,cudnn,…}/lib/*.so*            a folder each (CUDA 12)
//
// Environments are found by their folders; no Python is started.

// jaxPlugin is the file name of JAX's plugin.
const jaxPlugin = "xla_cuda_plugin.so"

// pythonPlugins lists JAX's plugins of the Python environments, those of the first
// environment first, newer versions of CUDA before older ones.
func pythonPlugins() []string {
	var list []string
	for _, site := range sitePackages() {
		found, err := filepath.Glob(filepath.Join(escapeGlob(site), "jax_plugins", "xla_cuda*", jaxPlugin))
		if err != nil {
			continue
		}
		slices.SortStableFunc(found, func(a, b string) int { return cmp.Compare(cudaOf(b), cudaOf(a)) })
		list = append(list, found...)
	}
	return list
}

// cudaOf reads the version of CUDA from a plugin's path, .../xla_cuda13/...; 0 for none.
func cudaOf(plugin string) int {
	for _, name := range []string{filepath.Base(filepath.Dir(plugin)), filepath.Base(plugin)} {
		if _, after, ok := strings.Cut(name, "cuda"); ok {
			digits := after[:len(after)-len(strings.TrimLeft(after, "0123456789"))]
			if n, err := strconv.Atoi(digits); err == nil {
				return n
			}
		}
	}
	return 0
}

// sitePackages lists the folders of Python's packages: of VIRTUAL_ENV and CONDA_PREFIX,
// of the Python that each directory of PATH holds, of PYTHONPATH, and of the user.
func sitePackages() []string {
	var prefixes []string
	for _, name := range []string{"VIRTUAL_ENV", "CONDA_PREFIX"} {
		prefixes = append(prefixes, absolute([]string{os.Getenv(name)})...)
	}
	for _, dir := range absolute(filepath.SplitList(os.Getenv("PATH"))) {
		for _, name := range []string{"python3", "python"} {
			if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
				prefixes = append(prefixes, filepath.Dir(dir))
				break
			}
		}
	}
	if slices.Contains(prefixes, "/usr") { // where Debian puts what pip installs
		prefixes = append(prefixes, "/usr/local")
	}
	if home, err := os.UserHomeDir(); err == nil {
		prefixes = append(prefixes, filepath.Join(home, ".local"))
	}
	dirs := absolute(filepath.SplitList(os.Getenv("PYTHONPATH")))
	for _, prefix := range prefixes {
		for _, kind := range []string{"site-packages", "dist-packages"} {
			for _, python := range []string{"python3*", "python3"} {
				found, err := filepath.Glob(filepath.Join(escapeGlob(prefix), "lib", python, kind))
				if err == nil {
					dirs = append(dirs, found...)
				}
			}
		}
	}
	return distinct(dirs)
}

func distinct(list []string) []string {
	var kept []string
	for _, one := range list {
		if !slices.Contains(kept, one) {
			kept = append(kept, one)
		}
	}
	return kept
}
