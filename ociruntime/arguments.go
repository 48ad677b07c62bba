package ociruntime

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// kind is the kind of value that a runc option takes.
type kind int

const (
	valued kind = iota
	boolean
	help
)

// globalOptions are runc's global options, of any version since 1.0 (runc, main.go).
var globalOptions = map[string]kind{
	"debug": boolean, "log": valued, "log-format": valued, "root": valued, "criu": valued,
	"systemd-cgroup": boolean, "rootless": valued, optionConfig: valued,
	"help": help, "h": help, "version": help, "v": help,
}

// createOptions are the options of `create` (runc, create.go).
var createOptions = map[string]kind{
	"bundle": valued, "b": valued, "console-socket": valued, "pidfd-socket": valued, "pid-file": valued,
	"no-pivot": boolean, "no-new-keyring": boolean, "preserve-fds": valued, "help": help, "h": help,
}

// runOptions are the options of `run` that `create` does not have (runc, run.go).
var runOptions = map[string]kind{"detach": boolean, "d": boolean, "keep": boolean, "no-subreaper": boolean}

// restoreOptions are the options of `restore` (runc, restore.go).
var restoreOptions = map[string]kind{
	"console-socket": valued, "image-path": valued, "work-path": valued, "tcp-established": boolean,
	"ext-unix-sk": boolean, "shell-job": boolean, "file-locks": boolean, "manage-cgroups-mode": valued,
	"bundle": valued, "b": valued, "detach": boolean, "d": boolean, "pid-file": valued, "no-subreaper": boolean,
	"no-pivot": boolean, "empty-ns": valued, "auto-dedup": boolean, "lazy-pages": boolean, "status-fd": valued,
	"lsm-profile": valued, "lsm-mount-context": valued, "help": help, "h": help,
}

// execOptions are the options of `exec` (runc, exec.go).
var execOptions = map[string]kind{
	"console-socket": valued, "pidfd-socket": valued, "cwd": valued, "env": valued, "e": valued, "tty": boolean, "t": boolean,
	"user": valued, "u": valued, "additional-gids": valued, "g": valued, "process": valued, "p": valued, "detach": boolean, "d": boolean,
	"pid-file": valued, "process-label": valued, "apparmor": valued, "no-new-privs": boolean, "cap": valued, "c": valued,
	"preserve-fds": valued, "cgroup": valued, "ignore-paused": boolean, "no-subreaper": boolean,
	"help": help, "h": help,
}

// optionConfig is shimward's only option of its own: the node's config. It stands among runc's
// global options.
const optionConfig = "shimward-config"

// command is a runc command line, parsed as far as shimward needs.
type command struct {
	config string   // value of optionConfig
	args   []string // as given, without shimward's own option

	global         []string // the options before the command, each as one word
	root           string
	log, logFormat string
	name           string // such as "create"; "" if there is none, or if it does not matter
	creates        bool   // it is a command that creates a container
	options        []string
	bundle, id     string
	pidFile        string   // exec only
	process        string   // exec only: path of its process's spec
	unread         error    // start and exec only: why they could not be parsed
	execArgs       []string // exec only: what it runs, if that is on the command line
}

// defaultRoot is runc's default state folder.
const defaultRoot = "/run/runc"

// parse parses runc's arguments, those after its name. A command that creates a container must be
// parsed completely, or parse returns an error: shimward has to find the container's bundle in the
// arguments as runc does. Other commands are not shimward's concern.
func parse(args []string) (*command, error) {
	c := &command{args: args, root: defaultRoot, logFormat: "text"}
	g := scanner{args: args, known: globalOptions}
	var kept []string
	for {
		rest := g.args
		option, ok, err := g.next()
		if err != nil {
			// The rest cannot be parsed either: it may start with a value, or with the command.
			if slices.ContainsFunc(args, makesContainer) {
				return nil, fmt.Errorf("runc %s: %w", strings.Join(args, " "), err)
			}
			if i := slices.IndexFunc(args, entersContainer); i >= 0 {
				c.name, c.unread = args[i], err
			}
			return c, nil
		}
		read := rest[:len(rest)-len(g.args)]
		if ok && option.name == optionConfig {
			c.config = option.value
			c.args = slices.Concat(kept, g.args)
			continue
		}
		kept = append(kept, read...)
		if !ok {
			break
		}
		switch option.name {
		case "root":
			c.root = option.value
		case "log":
			c.log = option.value
		case "log-format":
			c.logFormat = option.value
		}
		if option.kind == help {
			// runc acts on the last help option, so pass on no more than was parsed.
			c.args = append(slices.Clone(c.global), "--"+option.name)
			return c, nil
		}
		c.global = append(c.global, option.word())
	}
	if len(g.args) == 0 {
		return c, nil
	}
	c.name = g.args[0]
	return c, c.parseCommand(g.args[1:])
}

func makesContainer(word string) bool {
	return word == "create" || word == "run" || word == "restore"
}

func entersContainer(word string) bool { return word == "start" || word == "exec" }

func (c *command) parseCommand(args []string) error {
	var known map[string]kind
	switch c.name {
	case "create":
		known = createOptions
	case "run":
		known = merged(createOptions, runOptions)
	case "restore":
		known = restoreOptions
	case "exec":
		c.parseExec(args)
		return nil
	case "start":
		c.parseStart(args)
		return nil
	default:
		return nil
	}
	c.creates = true
	// runc also takes options after the ID.
	var positional []string
	s := scanner{args: args, known: known}
	for {
		option, ok, err := s.next()
		if err != nil {
			return fmt.Errorf("runc %s: %w", c.name, err)
		}
		if ok {
			if option.kind == help {
				c.creates = false
				c.args = append(slices.Clone(c.global), c.name, "--"+option.name)
				return nil
			}
			c.take(option)
			continue
		}
		if s.ended || len(s.args) == 0 {
			positional = append(positional, s.args...)
			break
		}
		positional, s.args = append(positional, s.args[0]), s.args[1:]
	}
	if len(positional) != 1 || positional[0] == "" {
		return fmt.Errorf("runc %s takes one container ID, but got %q", c.name, positional)
	}
	c.id = positional[0]
	return nil
}

func (c *command) take(o option) {
	if o.name == "bundle" || o.name == "b" {
		c.bundle = o.value
		return
	}
	c.options = append(c.options, o.word())
}

// parseStart finds the container that is started. The only option that runc has for start is help,
// which it also takes after the ID.
func (c *command) parseStart(args []string) {
	var ids []string
	s := scanner{args: args, known: map[string]kind{"help": help, "h": help}}
	for len(s.args) > 0 {
		option, ok, err := s.next()
		switch {
		case err != nil:
			c.unread = err
			return
		case ok && option.kind == help:
			return
		case len(s.args) > 0:
			ids, s.args = append(ids, s.args[0]), s.args[1:]
		}
	}
	if len(ids) != 1 {
		c.unread = fmt.Errorf("it takes one container ID, but got %q", ids)
		return
	}
	c.id = ids[0]
}

// parseExec finds what identifies an exec, and its container.
func (c *command) parseExec(args []string) {
	s := scanner{args: args, known: execOptions}
	for {
		option, ok, err := s.next()
		if err != nil {
			c.unread = err
			return
		}
		if !ok {
			break
		}
		switch option.name {
		case "help", "h":
			return // it starts nothing
		case "pid-file":
			c.pidFile = option.value
		case "process", "p":
			c.process = option.value
		}
	}
	if len(s.args) > 0 {
		c.id, c.execArgs = s.args[0], s.args[1:]
	}
}

// rewritten returns the arguments for runc: options first, each as one word, and the bundle that
// was found. However runc parses them, it gets the same values.
func (c *command) rewritten(bundle string) []string {
	args := slices.Clone(c.global)
	args = append(args, c.name)
	args = append(args, c.options...)
	return append(args, "--bundle="+bundle, "--", c.id)
}

func merged(sets ...map[string]kind) map[string]kind {
	all := map[string]kind{}
	for _, set := range sets {
		for name, k := range set {
			all[name] = k
		}
	}
	return all
}

// scanner parses options like Go's package flag, which runc parses its options with.
type scanner struct {
	args  []string // not yet read
	known map[string]kind
	ended bool // "--" was read: no options follow
}

type option struct {
	name, value string
	kind        kind
}

// word formats an option as one word, so that the next word cannot be taken for its value.
func (o option) word() string { return "--" + o.name + "=" + o.value }

// next parses an option; ok is false if the next word is not one.
func (s *scanner) next() (o option, ok bool, err error) {
	if s.ended || len(s.args) == 0 {
		return option{}, false, nil
	}
	word := s.args[0]
	if len(word) < 2 || word[0] != '-' {
		return option{}, false, nil
	}
	if word == "--" {
		s.args, s.ended = s.args[1:], true
		return option{}, false, nil
	}
	name := strings.TrimPrefix(strings.TrimPrefix(word, "-"), "-")
	name, value, given := strings.Cut(name, "=")
	k, known := s.known[name]
	if !known {
		return option{}, false, fmt.Errorf("shimward does not know the option %q, and so not what it does to the container: leave it out, or use a shimward that supports this runc", word)
	}
	s.args = s.args[1:]
	switch k {
	case help:
		if given {
			return option{}, false, fmt.Errorf("the option %q takes no value", word)
		}
	case boolean:
		if !given {
			value = "true"
		}
		if _, err := strconv.ParseBool(value); err != nil {
			return option{}, false, fmt.Errorf("the option %q takes true or false", word)
		}
	case valued:
		if !given {
			if len(s.args) == 0 {
				return option{}, false, fmt.Errorf("the option %q needs a value", word)
			}
			value, s.args = s.args[0], s.args[1:]
		}
	}
	return option{name: name, value: value, kind: k}, true, nil
}
