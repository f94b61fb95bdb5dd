package firewall

import (
	"fmt"
	"net/url"

	"github.com/graphward/graphward/schema/persisted/redisstore"
)

func (c *Config) validateManifests(v *validation) {
	o := &c.Operations
	v.oneOf("operations.compile", o.Compile, CompileFirstUse, CompileAhead)
	v.oneOf("operations.bad_entries", o.BadEntries, BadFatal, BadSkip)
	for i := range o.Manifests {
		m := &o.Manifests[i]
		path := fmt.Sprintf("operations.manifests[%d]", i)
		given := 0
		for _, s := range []string{m.File, m.URL, m.Redis} {
			if s != "" {
				given++
			}
		}
		if given != 1 {
			v.add(path+".file", "is needed, or url or redis in its place, and only one of them")
		}
		if m.URL != "" {
			v.httpURL(path+".url", m.URL)
			if m.Index != "" {
				v.httpURL(path+".index", m.Index)
			}
		}
		if m.Redis != "" {
			if u, err := url.Parse(m.Redis); err != nil || u.Scheme != "redis" && u.Scheme != "rediss" || u.Host == "" {
				v.add(path+".redis", "must be redis://host:port/db or rediss://")
			}
			if err := redisstore.CheckName(m.Name); err != nil {
				v.add(path+".name", "%v", err)
			}
		}
		v.only(m.Redis != "", path+".name", m.Name != "", "redis")
		v.only(m.Redis == "", path+".index", m.Index != "", "file and url: in redis it is published with the manifest")
		v.only(m.URL != "", path+".token_file", m.TokenFile != "", "url")
		v.only(m.remote(), path+".poll", m.Poll != 0, "url and redis; a file is watched")
		if m.remote() && m.Poll != 0 && m.Poll.Std() < minPoll {
			v.add(path+".poll", "%s is below %s: each poll is a question to the store", m.Poll.Std(), minPoll)
		}
		v.only(m.remote(), path+".max_size", m.MaxSize != 0, "url and redis")
		v.only(m.Client != "", path+".version", m.Version != "", "a client")
		v.raised(path+".limits", m.Limits, c.Limits.ShapeLimits)
		if !finite(m.Cost.Max) || m.Cost.Max > 0 && m.Cost.Max < c.Cost.Max {
			v.add(path+".cost.max", "must be above cost.max (%v): a manifest can only raise it", c.Cost.Max)
		}
	}
}

// only reports a key that is given where it means nothing.
func (v *validation) only(means bool, path string, given bool, where string) {
	if given && !means {
		v.add(path, "is for %s", where)
	}
}

func (v *validation) httpURL(path, text string) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		v.add(path, "must be an http or https URL")
	case u.User != nil:
		v.add(path, "must not hold credentials: use token_file")
	}
}

// raised checks limits that lift others.
func (v *validation) raised(path string, s, limits ShapeLimits) {
	for _, l := range []struct {
		key         string
		got, normal int
	}{{"depth", s.Depth, limits.Depth}, {"aliases", s.Aliases, limits.Aliases},
		{"root_fields", s.RootFields, limits.RootFields}, {"directives", s.Directives, limits.Directives}} {
		if l.got < 0 || l.got > 0 && l.got < l.normal {
			v.add(path+"."+l.key, "%d is below limits.%s (%d): a manifest can only raise limits", l.got, l.key, l.normal)
		}
	}
}
