package ociruntime

import (
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for name, test := range map[string]struct {
		args      string
		want      command // its creates, name, root, log, logFormat, config, bundle, id, pidFile, process
		rewritten string  // if it creates a container
		args2     string  // otherwise: what runc gets
	}{
		"containerd's create": {
			args:      "--root /run/containerd/runc/k8s.io --log /b/log.json --log-format json --systemd-cgroup create --bundle /b --pid-file /b/init.pid c1",
			want:      command{creates: true, name: "create", root: "/run/containerd/runc/k8s.io", log: "/b/log.json", logFormat: "json", bundle: "/b", id: "c1"},
			rewritten: "--root=/run/containerd/runc/k8s.io --log=/b/log.json --log-format=json --systemd-cgroup=true create --pid-file=/b/init.pid --bundle=B -- c1",
		},
		"every spelling of a bundle": {
			args:      "create -b=/b c1",
			want:      command{creates: true, name: "create", bundle: "/b", id: "c1"},
			rewritten: "create --bundle=B -- c1",
		},
		"the last bundle counts": {
			args:      "create -bundle /a --bundle=/b c1",
			want:      command{creates: true, name: "create", bundle: "/b", id: "c1"},
			rewritten: "create --bundle=B -- c1",
		},
		"options after the ID": {
			args:      "run c1 -d --bundle /b --no-subreaper=false",
			want:      command{creates: true, name: "run", bundle: "/b", id: "c1"},
			rewritten: "run --d=true --no-subreaper=false --bundle=B -- c1",
		},
		"no bundle": {
			args: "run c1", want: command{creates: true, name: "run", id: "c1"}, rewritten: "run --bundle=B -- c1",
		},
		"an ID that looks like an option": {
			args: "run -- -c1", want: command{creates: true, name: "run", id: "-c1"}, rewritten: "run --bundle=B -- -c1",
		},
		"a value that looks like a command": {
			args:      "--root create run c1",
			want:      command{creates: true, name: "run", root: "create", id: "c1"},
			rewritten: "--root=create run --bundle=B -- c1",
		},
		"a value that looks like an option": {
			args:      "create --pid-file --bundle /b",
			want:      command{creates: true, name: "create", id: "/b"},
			rewritten: "create --pid-file=--bundle --bundle=B -- /b",
		},
		"a restore": {
			args:      "restore --image-path /i -d --bundle /b c1",
			want:      command{creates: true, name: "restore", bundle: "/b", id: "c1"},
			rewritten: "restore --image-path=/i --d=true --bundle=B -- c1",
		},
		"shimward's config, first": {
			args:      "--shimward-config=/c.toml create c1",
			want:      command{creates: true, name: "create", config: "/c.toml", id: "c1"},
			rewritten: "create --bundle=B -- c1",
		},
		"shimward's config, anywhere": {
			args:  "--debug --shimward-config /c.toml --root=/r kill --all c1 KILL",
			want:  command{name: "kill", config: "/c.toml", root: "/r"},
			args2: "--debug --root=/r kill --all c1 KILL",
		},
		"an exec of containerd's": {
			args:  "--root /r exec --process /p.json --detach --pid-file /b/e1.pid c1",
			want:  command{name: "exec", root: "/r", id: "c1", pidFile: "/b/e1.pid", process: "/p.json"},
			args2: "--root /r exec --process /p.json --detach --pid-file /b/e1.pid c1",
		},
		"an exec of a later runc's": {args: "exec --later x c1 run", want: command{name: "exec"}, args2: "exec --later x c1 run"},
		"delete":                    {args: "delete --force c1", want: command{name: "delete"}, args2: "delete --force c1"},
		"create's help":             {args: "create --help", want: command{name: "create"}, args2: "create --help"},
		"version":                   {args: "--version", args2: "--version"},
		"nothing":                   {},
		"a later global option":     {args: "--later state c1", args2: "--later state c1"},
		"a later command":           {args: "later --x c1", want: command{name: "later"}, args2: "later --x c1"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := parse(strings.Fields(test.args))
			if err != nil {
				t.Fatal(err)
			}
			if test.want.root == "" {
				test.want.root = defaultRoot
			}
			if test.want.logFormat == "" {
				test.want.logFormat = "text"
			}
			told := func(c *command) []string {
				return []string{c.name, c.root, c.log, c.logFormat, c.config, c.bundle, c.id, c.pidFile, c.process}
			}
			if c.creates != test.want.creates || !slices.Equal(told(c), told(&test.want)) {
				t.Errorf("got %t %q, want %t %q", c.creates, told(c), test.want.creates, told(&test.want))
			}
			got, want := c.args, test.args2
			if c.creates {
				got, want = c.rewritten("B"), test.rewritten
			}
			if strings.Join(got, " ") != want {
				t.Errorf("runc gets %q, want %q", got, want)
			}
		})
	}
}

// A command that would create a container and cannot be parsed is refused.
func TestParseRefuses(t *testing.T) {
	for args, want := range map[string]string{
		"create --config x c1":            `"--config"`,
		"create --bundle":                 "needs a value",
		"create":                          "one container ID",
		"create a b":                      "one container ID",
		"run -- a --bundle x":             "one container ID",
		"run --detach=perhaps c1":         "true or false",
		"run --help=x c1":                 "takes no value",
		"--later create c1":               `"--later"`,
		"--later value run c1":            `"--later"`,
		"--systemd-cgroup=maybe state c1": "",
		"--systemd-cgroup=maybe run c1":   "true or false",
		"--root":                          "",
		"create --shimward-config=/c c1":  `"--shimward-config=/c"`,
		"restore --console-socket":        "needs a value",
	} {
		_, err := parse(strings.Fields(args))
		if (err != nil) != (want != "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", args, err, want)
		}
	}
	if _, err := parse([]string{"create", ""}); err == nil {
		t.Error("took an empty ID")
	}
}

// However runc parses what it gets, it reads the values that shimward read.
func FuzzParse(f *testing.F) {
	f.Add("--root /r create --bundle /b -- c1")
	f.Add("--shimward-config x --log y run -d c1 --keep")
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, " ")
		c, err := parse(args)
		if err != nil || !c.creates {
			return
		}
		again, err := parse(c.rewritten("/bundle"))
		if err != nil {
			t.Fatalf("%q became %q: %v", args, c.rewritten("/bundle"), err)
		}
		if !again.creates || again.name != c.name || again.id != c.id || again.bundle != "/bundle" || again.root != c.root {
			t.Fatalf("%q became %+v, was %+v", args, again, c)
		}
	})
}
