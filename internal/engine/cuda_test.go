package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gomlx/go-xla/pjrt"
	"github.com/stretchr/testify/require"
)

// layout writes empty files, by paths below a new directory, which it returns.
func layout(t *testing.T, files ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, f := range files {
		path := filepath.Join(root, f)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, nil, 0o755))
	}
	return root
}

// onlyPython leaves the search nothing but Python environments, of which none is there.
func onlyPython(t *testing.T) {
	for _, name := range []string{"VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "LD_LIBRARY_PATH", pjrt.PJRTPluginPathsEnv, "XLA_FLAGS", "CUDA_ROOT", "CUDA_HOME", "CUDA_VISIBLE_DEVICES"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", t.TempDir())
	t.Setenv("PATH", t.TempDir())
}

// cuda13 is the layout of jax[cuda13] in an environment of Python 3.12.
var cuda13 = []string{
	"bin/python3",
	"lib/python3.12/site-packages/jax_plugins/xla_cuda13/xla_cuda_plugin.so",
	"lib/python3.12/site-packages/nvidia/cu13/lib/libcublas.so.13",
	"lib/python3.12/site-packages/nvidia/cu13/lib/libcudart.so.13",
	"lib/python3.12/site-packages/nvidia/cu13/nvvm/libdevice/libdevice.10.bc",
	"lib/python3.12/site-packages/nvidia/cudnn/lib/libcudnn.so.9",
	"lib/python3.12/site-packages/nvidia/nvshmem/lib/libnvshmem_host.so.3",
}

func TestJAXsPluginIsFoundHoweverPythonIsNamed(t *testing.T) {
	onlyPython(t)
	_, err := Find(CUDA)
	require.ErrorContains(t, err, "nor in a Python environment (run make setup-cuda, or pip install")
	root := layout(t, cuda13...)
	site := filepath.Join(root, "lib", "python3.12", "site-packages")
	for name, value := range map[string]string{"VIRTUAL_ENV": root, "CONDA_PREFIX": root, "PYTHONPATH": site, "PATH": filepath.Join(root, "bin")} {
		t.Run(name, func(t *testing.T) {
			onlyPython(t)
			t.Setenv(name, value)
			found, err := Find(CUDA)
			require.NoError(t, err)
			require.Equal(t, filepath.Join(site, "jax_plugins", "xla_cuda13", "xla_cuda_plugin.so"), found)
		})
	}
	_, err = Find(CPU)
	require.Error(t, err, "no CPU plugin is taken for a GPU's or the other way round")
}

func TestADirectoryThatIsNamedGoesBeforeEveryPython(t *testing.T) {
	onlyPython(t)
	t.Setenv("VIRTUAL_ENV", layout(t, cuda13...))
	t.Setenv(pjrt.PJRTPluginPathsEnv, t.TempDir())
	_, err := Find(CUDA)
	require.Error(t, err)
	named := layout(t, "xla_cuda_plugin.so")
	t.Setenv(pjrt.PJRTPluginPathsEnv, named)
	found, err := Find(CUDA)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(named, "xla_cuda_plugin.so"), found)
}

func TestDistPackagesAndTheUsersOwn(t *testing.T) {
	onlyPython(t)
	home := layout(t, ".local/lib/python3.11/site-packages/jax_plugins/xla_cuda12/xla_cuda_plugin.so")
	t.Setenv("HOME", home)
	found, err := Find(CUDA)
	require.NoError(t, err)
	require.Equal(t, 12, cudaOf(found))
	debian := layout(t, "bin/python3", "lib/python3/dist-packages/jax_plugins/xla_cuda13/xla_cuda_plugin.so")
	t.Setenv("PATH", filepath.Join(debian, "bin"))
	found, err = Find(CUDA)
	require.NoError(t, err)
	require.Equal(t, 13, cudaOf(found))
}

func TestTheNewestCUDAThatTheDriverRuns(t *testing.T) {
	onlyPython(t)
	root := layout(t, append(cuda13, "lib/python3.12/site-packages/jax_plugins/xla_cuda12/xla_cuda_plugin.so")...)
	t.Setenv("VIRTUAL_ENV", root)
	for driver, want := range map[string]int{"580.159.04": 13, "550.54.14": 12} {
		fakeSMI(t, "0, GPU-1, NVIDIA H100, "+driver+", 81559, 81000", "")
		found, err := Find(CUDA)
		require.NoError(t, err)
		require.Equal(t, want, cudaOf(found), driver)
	}
}

func TestSetupOfListsLibrariesAndWhatIsMissing(t *testing.T) {
	onlyPython(t)
	root := layout(t, cuda13...)
	site := filepath.Join(root, "lib", "python3.12", "site-packages")
	s := SetupOf(filepath.Join(site, "jax_plugins", "xla_cuda13", "xla_cuda_plugin.so"))
	require.Equal(t, 13, s.Version)
	require.ElementsMatch(t, []string{site + "/nvidia/cu13/lib", site + "/nvidia/cudnn/lib", site + "/nvidia/nvshmem/lib"}, s.Libraries)
	require.Equal(t, site+"/nvidia/cu13", s.Data)
	missing := strings.Join(s.Missing, "\n")
	require.Contains(t, missing, "libcusolver.so.12 (pip install nvidia-cusolver)")
	for _, there := range []string{"libcublas.so", "libcudnn", "libcudart", "libnvshmem"} {
		require.NotContains(t, missing, there)
	}
	require.NotContains(t, missing, "-cu12")

	// go-xla's installer: the plugin lies inside of nvidia/
	home := layout(t, "go-xla/nvidia/pjrt_c_api_cuda13_plugin.so", "go-xla/nvidia/cu13/lib/libcublas.so.13")
	s = SetupOf(filepath.Join(home, "go-xla", "nvidia", "pjrt_c_api_cuda13_plugin.so"))
	require.Equal(t, 13, s.Version)
	require.Equal(t, []string{filepath.Join(home, "go-xla", "nvidia", "cu13", "lib")}, s.Libraries)
}

func TestEnvironmentIsChangedOnce(t *testing.T) {
	onlyPython(t)
	plugin := filepath.Join(t.TempDir(), "plugin.so")
	text := strings.Repeat("x", 1<<20-20) + "\x00xla_gpu_enable_triton_gemm\x00" // across two pieces of reading
	require.NoError(t, os.WriteFile(plugin, []byte(text), 0o644))
	s := CUDASetup{Plugin: plugin, Libraries: []string{"/a/lib", "/b/lib"}, Data: "/a"}
	t.Setenv("LD_LIBRARY_PATH", "/own")
	t.Setenv("XLA_FLAGS", "--other=1")
	change := environmentOf(s)
	require.Equal(t, map[string]string{"LD_LIBRARY_PATH": "/a/lib:/b/lib:/own", "XLA_FLAGS": "--other=1 --xla_gpu_enable_triton_gemm=false --xla_gpu_cuda_data_dir=/a"}, change,
		"a flag that the plugin does not know is not set: XLA would end the process")
	for name, value := range change {
		t.Setenv(name, value)
	}
	require.Empty(t, environmentOf(s))
	t.Setenv("XLA_FLAGS", "--xla_gpu_enable_triton_gemm=true --xla_gpu_cuda_data_dir=/own")
	require.Empty(t, environmentOf(s), "what the user sets is left alone")
}

func TestPJRTVersionsThatDoNotFitAreSaid(t *testing.T) {
	require.NoError(t, apiFits(0, 81))
	require.NoError(t, apiFits(0, 115))
	for _, v := range [][2]int{{0, 54}, {1, 0}} {
		require.ErrorContains(t, apiFits(v[0], v[1]), fmt.Sprintf("speaks PJRT %d.%d, and this program 0.81 or newer", v[0], v[1]))
	}
}

// fakeSMI puts a program nvidia-smi on PATH that answers the two queries.
func fakeSMI(t *testing.T, gpus, users string) {
	t.Helper()
	dir := t.TempDir()
	script := "#!/bin/sh\ncase $1 in --query-gpu*) echo '" + gpus + "';; *) echo '" + users + "';; esac\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "nvidia-smi"), []byte(script), 0o755))
	t.Setenv("PATH", dir+":/usr/bin:/bin")
}

func TestGPUsAndWhoUsesThem(t *testing.T) {
	onlyPython(t)
	fakeSMI(t, "0, GPU-aa11, NVIDIA H100 80GB HBM3, 580.159.04, 81559, 42000\n1, GPU-bb22, NVIDIA H200, 580.159.04, 143771, 143000",
		"GPU-aa11, 77, /usr/bin/python3, 39000\nGPU-bb22, "+fmt.Sprint(os.Getpid())+", alphalora, 10")
	list, err := GPUs()
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Equal(t, int64(81559)<<20, list[0].Total)
	require.Equal(t, int64(42000)<<20, list[0].Free)
	require.Equal(t, []string{"/usr/bin/python3 (process 77, 40.9 GB)"}, list[0].Users)
	require.Empty(t, list[1].Users, "this process is no other")
	for devices, want := range map[string][]int{"1": {1}, "1,0": {1, 0}, "GPU-bb": {1}, "7,0": nil, "-1": nil, " ": {0, 1}} {
		t.Setenv("CUDA_VISIBLE_DEVICES", devices)
		list, err := GPUs()
		require.NoError(t, err)
		var got []int
		for _, g := range list {
			got = append(got, g.Index)
		}
		require.Equal(t, want, got, devices)
	}
}

func TestADriverThatDoesNotAnswerIsSaid(t *testing.T) {
	onlyPython(t)
	_, err := findSMI()
	if err == nil {
		t.Skip("skipped: this machine has an nvidia-smi outside of PATH")
	}
	require.ErrorContains(t, err, "nvidia-smi is nowhere")
	fakeSMI(t, "NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.", "")
	_, err = GPUs()
	require.ErrorContains(t, err, "could not communicate with the NVIDIA driver")
}

func TestAPluginForANewerCUDAThanTheDriver(t *testing.T) {
	err := DriverFits(13, "550.54.14")
	require.ErrorContains(t, err, "the plugin is for CUDA 13, which needs driver 580 or newer, and this is 550.54.14")
	require.ErrorContains(t, err, `pip install "jax[cuda12]"`)
	for _, c := range []struct {
		cuda   int
		driver string
	}{{13, "580.0"}, {12, "550.54"}, {0, "470"}, {14, "600"}, {13, "unknown"}} {
		require.NoError(t, DriverFits(c.cuda, c.driver))
	}
}

func TestErrorsOfTheDriverHaveARemedy(t *testing.T) {
	for text, want := range map[string]string{
		"PJRT error (code=8): RESOURCE_EXHAUSTED: Out of memory while trying to allocate 17179869184 bytes": "fewer rows",
		"INTERNAL: CUDA error: : CUDA_ERROR_ILLEGAL_ADDRESS":                                                "see dmesg and nvidia-smi",
		"PJRT error (code=9): No visible GPU devices.":                                                      "CUDA_VISIBLE_DEVICES",
	} {
		require.Contains(t, Remedy(fmt.Errorf("%s", text)), want)
	}
	require.Empty(t, Remedy(fmt.Errorf("shapes differ")))
}

func TestTF32IsAskedFor(t *testing.T) {
	for _, name := range []string{"xla:cpu,tf32", "go,tf32", ",tf32"} {
		_, err := Open(name)
		require.ErrorContains(t, err, "TF32 is a GPU's (choose xla:cuda,tf32)", name)
	}
	_, err := Open("xla:cuda,fast")
	require.ErrorContains(t, err, "is not an engine")
}

func FuzzParseGPUs(f *testing.F) {
	f.Add("0, GPU-aa11, NVIDIA H100, 580.159.04, 81559, 42000\n", "GPU-aa11, 77, python, 39000")
	f.Add("0, GPU-1, \"a, b\", 1, [N/A], 0", "")
	f.Add("No devices were found", "x")
	f.Fuzz(func(t *testing.T, gpus, users string) {
		list, err := parseGPUs(gpus)
		if err != nil {
			require.NotContains(t, err.Error(), "\n")
			return
		}
		require.NotEmpty(t, list)
		addUsers(list, users, 1)
		for _, g := range list {
			require.GreaterOrEqual(t, g.Total, int64(0))
			require.GreaterOrEqual(t, g.Free, int64(0))
		}
	})
}
