package engine

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/go-xla/pjrt"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/stretchr/testify/require"

	"alphalora/internal/fault"
)

// withoutPlugins hides every plugin of the machine, and returns the only directory
// that is searched.
func withoutPlugins(t *testing.T) string {
	dir := t.TempDir()
	t.Setenv(pjrt.PJRTPluginPathsEnv, dir)
	t.Setenv(compute.ConfigEnvVar, "")
	return dir
}

func TestUnknownNameIsBadInput(t *testing.T) {
	for _, name := range []string{"tpu", "xla", "xla:", "xla:rocm", "xla:relative.so", "GO", " "} {
		_, err := Open(name)
		require.ErrorContains(t, err, "choose xla:cuda, xla:cpu, go or xla:/", "name %q", name)
		require.Equal(t, fault.StatusBad, fault.ExitStatus(err), "name %q", name)
	}
	t.Setenv(compute.ConfigEnvVar, "tpu")
	_, err := Open("")
	require.ErrorContains(t, err, `GOMLX_BACKEND "tpu": is not an engine`)
}

func TestNameOverridesEnvironment(t *testing.T) {
	t.Setenv(compute.ConfigEnvVar, "tpu")
	e, err := Open(Go)
	require.NoError(t, err)
	defer e.Close()
	require.Equal(t, Go, e.Name)
}

func TestFallbackIsSaidAloud(t *testing.T) {
	dir := withoutPlugins(t)
	e, err := Open("")
	require.NoError(t, err)
	defer e.Close()
	require.Equal(t, Go, e.Name)
	line := e.Describe()
	require.Contains(t, line, "engine: go (pure Go, f32 only, slow); not ")
	require.Contains(t, line, "xla:cpu: no PJRT plugin found in "+dir+" (run make setup")
	require.NotContains(t, line, "\n")
}

func TestNamedEngineHasNoFallback(t *testing.T) {
	withoutPlugins(t)
	for _, name := range []string{CUDA, CPU} {
		_, err := Open(name)
		var absent *Absent
		require.ErrorAs(t, err, &absent)
		require.Equal(t, fault.StatusFailed, fault.ExitStatus(err))
	}
	_, err := Open("xla:/no/such/plugin.so")
	require.ErrorContains(t, err, "/no/such/plugin.so")
}

func TestBrokenPluginIsAnErrorAndIsSkippedAloud(t *testing.T) {
	program, err := os.Executable()
	require.NoError(t, err)
	whole, err := os.ReadFile(program)
	require.NoError(t, err)
	for why, content := range map[string][]byte{
		"is not a shared library":       []byte("not a library"),
		"is not a whole shared library": cutShort(whole),
		"could not be loaded":           whole, // whole, but no plugin
	} {
		dir := withoutPlugins(t)
		path := filepath.Join(dir, "pjrt_c_api_cpu_plugin.so")
		require.NoError(t, os.WriteFile(path, content, 0o755))
		_, err := Open(CPU)
		require.ErrorContains(t, err, why)
		require.NotContains(t, err.Error(), "\n")
		e, err := Open("")
		require.NoError(t, err)
		require.Equal(t, Go, e.Name)
		require.Contains(t, e.Describe(), why)
		e.Close()
	}
}

// cutShort is a library that has no table of sections and not all its segments.
func cutShort(whole []byte) []byte {
	short := bytes.Clone(whole[:len(whole)/2])
	// e_shoff, e_shnum and e_shstrndx of a 64-bit header
	for _, at := range [][2]int{{0x28, 0x30}, {0x3c, 0x40}} {
		clear(short[at[0]:at[1]])
	}
	return short
}

func TestSearchDirs(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv(pjrt.PJRTPluginPathsEnv, "")
	t.Setenv("LD_LIBRARY_PATH", "relative:/somewhere")
	dirs := SearchDirs()
	require.Equal(t, filepath.Join(home, ".local/lib/go-xla"), dirs[0])
	require.Contains(t, dirs, "/somewhere")
	require.NotContains(t, dirs, "relative")

	t.Setenv(pjrt.PJRTPluginPathsEnv, "/a:relative:/b")
	require.Equal(t, []string{"/a", "/b"}, SearchDirs())
}

func TestFindTakesTheInstallersVersionedName(t *testing.T) {
	dir := withoutPlugins(t)
	for _, name := range []string{"pjrt_c_api_cpu_v0.83.1_plugin.so", "pjrt_c_api_cpu_v0.98.0_plugin.so", "pjrt_c_api_cuda13_plugin.so"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o644))
	}
	path, err := Find(CPU)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "pjrt_c_api_cpu_v0.98.0_plugin.so"), path)
	path, err = Find(CUDA)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "pjrt_c_api_cuda13_plugin.so"), path)
}

// open opens one engine, or skips the test where its plugin is absent.
func open(t *testing.T, name string) *Engine {
	t.Helper()
	if name != Go {
		if _, err := Find(name); err != nil {
			t.Skipf("skipped: %s", err)
		}
	}
	if name == CUDA && !GPUPresent() {
		t.Skip("skipped: no NVIDIA GPU is there")
	}
	e, err := Open(name)
	require.NoError(t, err)
	t.Cleanup(e.Close)
	return e
}

func product(e *Engine) (float32, error) {
	return Try1(func() float32 {
		return graph.MustExecOnce(e.Backend, func(x, y *graph.Node) *graph.Node {
			return graph.Dot(x, y).Product()
		}, []float32{1, 2, 3}, []float32{4, 5, 6}).Value().(float32)
	})
}

func TestProductOnEachEngine(t *testing.T) {
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			e := open(t, name)
			got, err := product(e)
			require.NoError(t, err)
			require.Equal(t, float32(32), got)
			require.Contains(t, e.Describe(), "engine: "+name+" (")
		})
	}
}

func TestPathNamesAPluginOutright(t *testing.T) {
	cpu := open(t, CPU)
	e, err := Open("xla:" + cpu.Plugin)
	require.NoError(t, err)
	defer e.Close()
	require.Equal(t, cpu.Plugin, e.Plugin)
	require.Contains(t, e.Describe(), filepath.Base(cpu.Plugin))
	got, err := product(e)
	require.NoError(t, err)
	require.Equal(t, float32(32), got)
}

func TestCPUPluginInADirectoryNamedNvidia(t *testing.T) {
	plugin := open(t, CPU).Plugin
	dir := filepath.Join(t.TempDir(), "nvidia")
	require.NoError(t, os.Mkdir(dir, 0o755))
	require.NoError(t, os.Symlink(plugin, filepath.Join(dir, filepath.Base(plugin))))
	t.Setenv(pjrt.PJRTPluginPathsEnv, dir)
	e, err := Open(CPU)
	require.NoError(t, err)
	defer e.Close()
	require.NotContains(t, e.Backend.Description(), "nvidia")
	got, err := product(e)
	require.NoError(t, err)
	require.Equal(t, float32(32), got)
}

func TestGoEngineLeavesStandardOutputAlone(t *testing.T) {
	read, write, err := os.Pipe()
	require.NoError(t, err)
	stdout := os.Stdout
	os.Stdout = write
	e, openErr := Open(Go)
	os.Stdout = stdout
	require.NoError(t, write.Close())
	require.NoError(t, openErr)
	defer e.Close()
	printed, err := io.ReadAll(read)
	require.NoError(t, err)
	require.Empty(t, strings.TrimSpace(string(printed)))
	require.Contains(t, e.Backend.Description(), "parallelism=-1")
}
