package configfile

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long the files must be quiet before they are read: an editor
// or a ConfigMap swap writes several times.
const settle = 200 * time.Millisecond

// Watch calls changed, one call at a time, whenever a source of the
// configuration has changed, until ctx is done. sources is asked again after
// each call, since a new configuration may name other files. It watches folders,
// because editors and Kubernetes replace files rather than write them, and where
// a source is a link its target too.
func Watch(ctx context.Context, sources func() []string, changed func()) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	defer w.Close()
	// Links are followed when they are watched anew, not at each event: a log may be written beside the sources.
	var named, followed []string
	watch := func() {
		named = slices.Clone(sources())
		followed = targets(named)
		for _, dir := range folders(followed) {
			_ = w.Add(dir) // also once more: a folder that was replaced has lost its watch
		}
	}
	watch()
	timer := time.NewTimer(0)
	<-timer.C
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-w.Events:
			if !ok {
				return nil
			}
			if now := sources(); !slices.Equal(now, named) {
				named = slices.Clone(now)
				followed = targets(named)
			}
			if e.Op != fsnotify.Chmod && concerns(followed, e.Name) {
				timer.Reset(settle)
			}
		case _, ok := <-w.Errors:
			if !ok {
				return nil
			}
			// Events were lost: what they said is unknown, so look.
			timer.Reset(settle)
		case <-timer.C:
			watch() // before the files are read, so that nothing is written unseen
			changed()
			watch()
		}
	}
}

// targets adds to the sources what they are links to.
func targets(sources []string) []string {
	out := slices.Clone(sources)
	for _, s := range sources {
		if target, err := filepath.EvalSymlinks(s); err == nil && target != filepath.Clean(s) {
			out = append(out, target)
		}
	}
	return out
}

// folders lists the folders to watch: those of the files, and every folder
// below one that is a source itself.
func folders(sources []string) []string {
	var out []string
	for _, s := range sources {
		out = append(out, filepath.Dir(s))
		if info, err := os.Stat(s); err == nil && info.IsDir() {
			_ = filepath.WalkDir(s, func(path string, d fs.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					out = append(out, path)
				}
				return nil
			})
		}
	}
	return out
}

// concerns reports whether an event's path is a source, lies in one, or is the
// ..data link through which Kubernetes swaps a whole folder.
func concerns(sources []string, name string) bool {
	if filepath.Base(name) == "..data" {
		return true
	}
	name = filepath.Clean(name)
	for _, s := range sources {
		s = filepath.Clean(s)
		if name == s {
			return true
		}
		if rel, err := filepath.Rel(s, name); err == nil && filepath.IsLocal(rel) {
			return true
		}
	}
	return false
}
