package persisted

import (
	"crypto/md5" //nolint:gosec // Relay's ids, which name and do not protect
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxSource bounds one source file; bundles are larger and hold no source.
const maxSource = 8 << 20

// ExtractFiles extracts from files and from the sources below folders, in
// lexical order. Folders named node_modules, dist, build and those that begin
// with a dot are left out, as are tests' snapshots and declarations (.d.ts),
// which hold no documents. A file that is named is read whatever its ending. The
// error is the file system's.
func ExtractFiles(paths ...string) ([]Definition, []Problem, error) {
	var definitions []Definition
	var problems []Problem
	read := func(path string) error {
		source, err := readSource(path)
		if err != nil {
			return err
		}
		d, p := Extract(filepath.ToSlash(path), source)
		definitions, problems = append(definitions, d...), append(problems, p...)
		return nil
	}
	for _, root := range paths {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case path == root && !d.IsDir():
				return read(path)
			case d.IsDir():
				if name := d.Name(); path != root && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "dist" || name == "build") {
					return filepath.SkipDir
				}
				return nil
			case !IsSource(path) || strings.HasSuffix(path, ".d.ts"):
				return nil
			}
			return read(path)
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return definitions, problems, nil
}

func readSource(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	source, err := io.ReadAll(io.LimitReader(f, maxSource+1))
	if err == nil && len(source) > maxSource {
		err = fmt.Errorf("%s has more than %d MiB", path, maxSource>>20)
	}
	return source, err
}

// MD5 gives each document the MD5 of its text for its id, as relay-compiler
// does by default.
func MD5(documents []Document) {
	for i := range documents {
		sum := md5.Sum([]byte(documents[i].Text)) //nolint:gosec // see above
		documents[i].ID = hex.EncodeToString(sum[:])
	}
}
