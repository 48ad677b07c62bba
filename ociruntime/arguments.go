package ociruntime

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// kind is what an option of runc's takes.
type kind int

const (
	valued kind = iota
	boolean
	help
)

// globalOptions are those of runc itself, of any version from 1.0 on (runc, main.go).
var globalOptions = map[string]kind{
	"debug": boolean, "log": valued, "log-format": valued, "root": valued, "criu": valued,
	"systemd-cgroup": boolean, "rootless": valued, optionConfig: valued,
	"help": help, "h": help, "version": help, "v": help,
}

// createOptions are those of `create` (runc, create.go).
var createOptions = map[string]kind{
	"bundle": valued, "b": valued, "console-socket": valued, "pidfd-socket": valued, "pid-file": valued,
	"no-pivot": boolean, "no-new-keyring": boolean, "preserve-fds": valued, "help": help, "h": help,
}

// runOptions are those of `run` that `create` has not (runc, run.go).
var runOptions = map[string]kind{"detach": boolean, "d": boolean, "keep": boolean, "no-subreaper": boolean}

// restoreOptions are those of `restore` (runc, restore.go).
var restoreOptions = map[string]kind{
	"console-socket": valued, "image-path": valued, "work-path": valued, "tcp-established": boolean,
	"ext-unix-sk": boolean, "shell-job": boolean, "file-locks": boolean, "manage-cgroups-mode": valued,
	"bundle": valued, "b": valued, "detach": boolean, "d": boolean, "pid-file": valued, "no-subreaper": boolean,
	"no-pivot": boolean, "empty-ns": valued, "auto-dedup": boolean, "lazy-pages": boolean, "status-fd": valued,
	"lsm-profile": valued, "lsm-mount-context": valued, "help": help, "h": help,
}

// execOptions are those of `exec` (runc, exec.go).
var execOptions = map[string]kind{
	"console-socket": valued, "pidfd-socket": valued, "cwd": valued, "env": valued, "e": valued, "tty": boolean, "t": boolean,
	"user": valued, "u": valued, "additional-gids": valued, "g": valued, "process": valued, "p": valued, "detach": boolean, "d": boolean,
	"pid-file": valued, "process-label": valued, "apparmor": valued, "no-new-privs": boolean, "cap": valued, "c": valued,
	"preserve-fds": valued, "cgroup": valued, "ignore-paused": boolean, "no-subreaper": boolean,
	"help": help, "h": help,
}

// optionConfig is the one option that is shimward's own: the node's config. It
// stands among runc's global ones.
const optionConfig = "shimward-config"

// command is a command line of runc's, understood as far as shimward has to.
type command struct {
	config string   // of optionConfig
	args   []string // as they were given, without shimward's own

	global         []string // the options before the command, each as one word
	root           string
	log, logFormat string
	name           string // such as "create"; "" where there is none, or where it does not matter
	creates        bool   // it is one of those that make a container
	options        []string
	bundle, id     string
	pidFile        string   // of exec
	process        string   // of exec: the path of its process's spec
	unread         error    // of start and exec: why they are not understood
	execArgs       []string // of exec: what it runs, where that is on the command line
}

// defaultRoot is where runc keeps its state unless it is told otherwise.
const defaultRoot = "/run/runc"

// parse reads runc's arguments, those after its name. A command that makes a
// container is understood whole, or it is an error: a container's bundle is to be
// found in its arguments as runc finds it. Any other is not shimward's business.
func parse(args []string) (*command, error) {
	c := &command{args: args, root: defaultRoot, logFormat: "text"}
	g := scanner{args: args, known: globalOptions}
	var kept []string
	for {
		rest := g.args
		option, ok, err := g.next()
		if err != nil {
			// What follows is not understood either: it may be a value, or the command.
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
			// runc goes by the last of them: no more of it than was understood.
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
	// runc takes options after the ID too.
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
		return fmt.Errorf("runc %s takes one container ID, and got %q", c.name, positional)
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

// parseStart finds what is started. runc knows no option of it but the one for
// help, and takes that behind the ID too.
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
		c.unread = fmt.Errorf("it takes one container ID, and got %q", ids)
		return
	}
	c.id = ids[0]
}

// parseExec finds what names an exec, and where it goes.
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
			return // and it goes nowhere
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

// rewritten are the arguments for runc: options first, each as one word, and the
// bundle that was read. However runc reads them, it reads that.
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

// scanner reads options as Go's package flag does, which runc's options are read with.
type scanner struct {
	args  []string // not yet read
	known map[string]kind
	ended bool // "--" was read: no options follow
}

type option struct {
	name, value string
	kind        kind
}

// word is an option as one word, so that no other follows it for its value.
func (o option) word() string { return "--" + o.name + "=" + o.value }

// next reads an option; ok is false where the next word is none.
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
		return option{}, false, fmt.Errorf("shimward does not know the option %q, and so not what the container would be: leave it out, or use a shimward that knows this runc", word)
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
