package rules

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alphalora/internal/testkit"
)

// built are the places that hold no sources of ours.
var built = []string{".git", ".deps", "bin", "runs", "dist"}

// walk calls visit with every file of the project, by its path from the root.
func walk(t *testing.T, visit func(path string)) {
	root := testkit.Root(t)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if slices.Contains(built, rel) {
			if entry.IsDir() {
				return filepath.SkipDir
			}
			return nil // a worktree's .git, a link to .deps
		}
		if entry.Type().IsRegular() {
			visit(filepath.ToSlash(rel))
		}
		return nil
	})
	require.NoError(t, err)
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(testkit.Root(t), path))
	require.NoError(t, err)
	return data
}

// parsed is a Go file of the project.
type parsed struct {
	path, room string
	inTest     bool
	lines      int
	file       *ast.File
}

func goFiles(t *testing.T) []parsed {
	var files []parsed
	walk(t, func(path string) {
		if !strings.HasSuffix(path, ".go") {
			return
		}
		source := read(t, path)
		file, err := parser.ParseFile(token.NewFileSet(), path, source, parser.SkipObjectResolution)
		require.NoError(t, err)
		files = append(files, parsed{
			path: path, room: filepath.ToSlash(filepath.Dir(path)), file: file,
			inTest: strings.HasSuffix(path, "_test.go"), lines: bytes.Count(source, []byte("\n")),
		})
	})
	return files
}

func TestArrowsAndAliases(t *testing.T) {
	packages, imports := map[string]bool{}, 0
	files := goFiles(t)
	for _, f := range files {
		packages[f.room] = true
		for _, spec := range f.file.Imports {
			imports++
			path, err := strconv.Unquote(spec.Path.Value)
			require.NoError(t, err)
			alias := ""
			if spec.Name != nil {
				alias = spec.Name.Name
			}
			if why := judge(f.room, path, alias, f.inTest); why != "" {
				t.Errorf("%s: must not import %s: %s", f.path, path, why)
			}
		}
	}
	for name := range packages {
		if !hasRoom(name) {
			t.Errorf("%s: the package has no row in internal/rules: write it one, with its reason", name)
		}
	}
	require.Greater(t, len(packages), 10, "the packages were not found")
	require.Greater(t, imports, 100, "the imports were not found")
	t.Logf("checked %d imports in %d files of %d packages", imports, len(files), len(packages))
}

func TestFilesAreShortAndRegisterNothing(t *testing.T) {
	checked := 0
	for _, f := range goFiles(t) {
		if f.inTest {
			continue
		}
		checked++
		if f.lines > longest {
			t.Errorf("%s: %d lines, at most %d: a file is read in one sitting, so part it", f.path, f.lines, longest)
		}
		for _, d := range f.file.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: func init: tables are explicit values, one can search for", f.path)
			}
		}
	}
	require.Greater(t, checked, 20, "the files were not found")
	t.Logf("checked the length of %d files of code", checked)
}

// machinePath is a path of one machine: a home directory, or where the project was
// checked out. It is written so that it does not find itself.
var machinePath = regexp.MustCompile(`(^|[^\w./-])/(roo[t]|wor[k]|hom[e]/\w+|User[s]/\w+)/`)

// hosts are the registries' host names; their clients know them.
var hosts = []string{
	"pypi" + ".org", "pythonhosted" + ".org", "proxy.golang" + ".org", "sum.golang" + ".org",
	"crates" + ".io/", "static.crates" + ".io", "index.crates" + ".io", "registry.npmjs" + ".org",
}

// lineFault is why one line of a file may not stay, or "".
func lineFault(line string) string {
	if machinePath.MatchString(line) {
		return "it names a path of one machine"
	}
	for _, host := range hosts {
		if strings.Contains(line, host) {
			return "it names the host of a registry; whoever mirrors it could not use this"
		}
	}
	return ""
}

func TestNoFileNamesAMachineOrARegistry(t *testing.T) {
	checked := 0
	walk(t, func(path string) {
		data := read(t, path)
		if bytes.IndexByte(data[:min(len(data), 8192)], 0) >= 0 || len(data) > 4<<20 {
			return // binary, or data
		}
		checked++
		for i, line := range strings.Split(string(data), "\n") {
			if why := lineFault(line); why != "" {
				t.Errorf("%s:%d: %s", path, i+1, why)
			}
		}
	})
	require.Greater(t, checked, 40, "the files were not found")
	t.Logf("checked the text of %d files", checked)
}

// A rule that cannot be broken is none.
func TestRulesBite(t *testing.T) {
	for _, c := range []struct {
		from, path, alias string
		inTest            bool
		why               string
	}{
		{"model", "alphalora/moelora", "", false, "through the seam"},
		{"moelora", "alphalora/train", "", false, "hangs on the model's sites"},
		{"model/weights", "alphalora/model", "", false, "a leaf"},
		{"train", "alphalora/eval", "", false, "how results are scored"},
		{"train", "alphalora/internal/testkit", "", false, "for tests"},
		{"newroom", "alphalora/model", "", false, "no row"},
		{"model", "github.com/spf13/cobra", "", false, "flags"},
		{"train", "github.com/gomlx/gomlx/backends/default", "_", false, "downloads"},
		{"eval/benchmark", "github.com/gomlx/gomlx/core/graph", "", false, "formats, text"},
		{"train", "github.com/gomlx/gomlx/ml/train", "", true, "mltrain"},
		{"train", "github.com/gomlx/gomlx/ml/model", "gomodel", false, "mlmodel"},
	} {
		require.Contains(t, judge(c.from, c.path, c.alias, c.inTest), c.why, "%s imports %s", c.from, c.path)
	}
	require.Empty(t, judge("train", "alphalora/moelora", "", false))
	require.Empty(t, judge("train", "alphalora/internal/testkit", "", true))
	require.Empty(t, judge("train", "github.com/gomlx/gomlx/ml/train", "mltrain", false))

	require.NotEmpty(t, lineFault(`cd /roo`+`t/x`))
	require.NotEmpty(t, lineFault(`"/hom`+`e/somebody/models"`))
	require.NotEmpty(t, lineFault("see pypi"+".org"))
	require.Empty(t, lineFault("../shared/reference, /usr/local/lib and frame/work/net"))
}
