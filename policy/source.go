package policy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/util"

	"github.com/graphward/graphward/rego"
)

// maxSourceFile bounds one policy or data file, in bytes.
const maxSourceFile = 64 << 20

// sources is what a policy is made of: parsed modules and data.
type sources struct {
	modules map[string]*ast.Module
	data    map[string]any
	texts   map[string][32]byte // digests of policies by file name
	seen    map[string]bool     // data files
	origin  map[string]string   // data path -> file that set it
	// policies counts the modules that are not the library's.
	policies int
}

// libraryPrefix begins the file names of graphward's own modules.
const libraryPrefix = "graphward:"

func newSources() *sources {
	return &sources{
		modules: map[string]*ast.Module{},
		data:    map[string]any{},
		texts:   map[string][32]byte{},
		seen:    map[string]bool{},
		origin:  map[string]string{},
	}
}

// read gathers policies and data. Everything that fails is added to r.
func (s *sources) read(o *Options, r *report) {
	for _, path := range o.Paths {
		s.walk(path, r, func(file, _ string, text []byte) {
			switch {
			case isPolicy(file):
				s.parse(file, text, r)
			case !isPolicyTest(file):
				r.addFile(file, "is not a .rego file")
			}
		}, func(file string) bool { return strings.HasSuffix(file, ".rego") }, "holds no .rego file")
	}
	for _, name := range slices.Sorted(maps.Keys(o.Modules)) {
		if !isPolicyTest(name) {
			s.parse(name, []byte(o.Modules[name]), r)
		}
	}
	if o.Bundle != nil {
		s.readBundle(o.Bundle, r)
	}
	library, err := libraryModules()
	if err != nil {
		r.addErr(libraryPrefix, err)
	}
	maps.Copy(s.modules, library)
	for _, path := range o.Data {
		s.walk(path, r, func(file, dir string, text []byte) { s.parseData(file, dir, text, r) }, isData, "holds no data file (.json, .yaml, .yml)")
	}
}

// libraryModules parses graphward's library, which every policy can import.
var libraryModules = sync.OnceValues(func() (map[string]*ast.Module, error) {
	files, err := fs.Glob(rego.Library, "lib/*.rego")
	if err != nil {
		return nil, err
	}
	out := map[string]*ast.Module{}
	for _, file := range files {
		if !isPolicy(file) {
			continue
		}
		text, err := fs.ReadFile(rego.Library, file)
		if err != nil {
			return nil, err
		}
		name := libraryPrefix + file
		m, err := ast.ParseModuleWithOpts(name, string(text), ast.ParserOptions{RegoVersion: ast.RegoV1})
		if err != nil {
			return nil, err
		}
		out[name] = m
	}
	return out, nil
})

func isPolicy(file string) bool {
	return strings.HasSuffix(file, ".rego") && !strings.HasSuffix(file, "_test.rego")
}

func isData(file string) bool {
	switch filepath.Ext(file) {
	case ".json", ".yaml", ".yml":
		return true
	}
	return false
}

// walk calls use for each wanted file at or under path; dir is the folder of
// the file relative to path, with slashes. A path that names a file is used
// whatever its name is. Hidden folders are left out: where files are mounted by
// Kubernetes, they hold the same files again. A folder without any wanted file
// is the problem none.
func (s *sources) walk(path string, r *report, use func(file, dir string, text []byte), wanted func(string) bool, none string) {
	info, err := os.Stat(path)
	if err != nil {
		r.addFile(path, "%s", cause(err))
		return
	}
	root := path
	if info.IsDir() {
		root = filepath.Clean(path) + string(filepath.Separator) // follows a link
	}
	found := false
	err = filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && file != root && strings.HasPrefix(entry.Name(), "."):
			return filepath.SkipDir
		case entry.IsDir(), file != root && !wanted(file):
			return nil
		}
		found = true
		text, err := readBounded(file)
		if err != nil {
			r.addFile(file, "%s", cause(err))
			return nil
		}
		dir, _ := filepath.Rel(root, filepath.Dir(file))
		if file == root {
			dir = "."
		}
		use(file, filepath.ToSlash(dir), text)
		return nil
	})
	switch {
	case err != nil:
		r.addFile(path, "%s", cause(err))
	case !found:
		r.addFile(path, "%s", none)
	}
}

// cause drops the path that an *fs.PathError repeats.
func cause(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}

func readBounded(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxSourceFile {
		return nil, fmt.Errorf("is larger than %d MiB", maxSourceFile>>20)
	}
	return os.ReadFile(file)
}

// parse adds one module. Modules are read as Rego v1; `import rego.v2` raises
// one to v2.
func (s *sources) parse(name string, text []byte, r *report) {
	if _, dup := s.texts[name]; dup {
		return // the same file through two paths
	}
	s.texts[name] = sha256.Sum256(text)
	s.policies++
	m, err := ast.ParseModuleWithOpts(name, string(text), ast.ParserOptions{
		RegoVersion: ast.RegoV1, ProcessAnnotation: true,
	})
	switch {
	case err != nil:
		r.addErr(name, err)
	case m == nil:
		r.addFile(name, "is empty: a policy begins with `package graphward`")
	default:
		s.modules[name] = m
	}
}

// parseData merges one data file. A file in a subfolder is placed under the
// folder's name, as OPA does.
func (s *sources) parseData(file, dir string, text []byte, r *report) {
	if s.seen[file] {
		return
	}
	s.seen[file] = true
	var value any
	if err := util.Unmarshal(text, &value); err != nil {
		r.addFile(file, "%s", err)
		return
	}
	object, ok := value.(map[string]any)
	if !ok {
		r.addFile(file, "holds %s; data files hold an object, whose members become data.<name>", typeName(value))
		return
	}
	if dir != "." {
		parts := strings.Split(dir, "/")
		for _, p := range slices.Backward(parts) {
			object = map[string]any{p: object}
		}
	}
	s.merge(s.data, object, "", file, r)
}

func (s *sources) merge(dst, src map[string]any, prefix, file string, r *report) {
	for _, key := range slices.Sorted(maps.Keys(src)) {
		path := prefix + "." + key
		old, exists := dst[key]
		oldObject, a := old.(map[string]any)
		newObject, b := src[key].(map[string]any)
		switch {
		case !exists:
			dst[key] = src[key]
			s.origin[path] = file
		case a && b:
			s.merge(oldObject, newObject, path, file, r)
		default:
			r.addFile(file, "data%s is already set by %s", path, s.setBy(path))
		}
	}
}

// setBy finds the file that set the data path or what holds it.
func (s *sources) setBy(path string) string {
	for path != "" {
		if f, ok := s.origin[path]; ok {
			return f
		}
		path = path[:strings.LastIndexByte(path, '.')]
	}
	return "another file"
}

func typeName(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case []any:
		return "a list"
	case string:
		return "a string"
	case bool:
		return "a boolean"
	}
	return "a number"
}

// revision digests what decisions depend on: the schema, the key of masks, the
// texts of the policies and the data, wherever the files are.
func (s *sources) revision(o *Options) (string, error) {
	h := sha256.New()
	digest := o.Schema.Digest()
	h.Write(digest[:])
	if len(o.MaskKey) > 0 {
		key := sha256.Sum256(o.MaskKey)
		h.Write(key[:])
	}
	texts := slices.SortedFunc(maps.Values(s.texts), func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
	for _, sum := range texts {
		h.Write(sum[:])
	}
	data, err := json.Marshal(s.data)
	if err != nil {
		return "", fmt.Errorf("policy: data: %w", err)
	}
	h.Write(data)
	return hex.EncodeToString(h.Sum(nil)), nil
}
