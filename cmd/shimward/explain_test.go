package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/shimward/shimward/access"
	"github.com/shimward/shimward/policy"
)

func TestExplain(t *testing.T) {
	config, _ := node(t)
	ask := func(args ...string) result {
		t.Helper()
		return shimward(t, setup{}, append([]string{"explain", "--config", config}, args...)...)
	}
	enforce := []string{"--tier", "lsm", "--annotation", "shimward.dev/mode=enforce", "proc_mem", "host"}
	if got := ask(enforce...); got.code != 0 || !strings.HasPrefix(got.stdout, "proc_mem, read, at host: refused\n") || !strings.Contains(got.stdout, "baseline.host") {
		t.Errorf("got %+v", got)
	}
	var answer policy.Explanation
	got := ask(append([]string{"--json"}, enforce...)...)
	if err := json.Unmarshal([]byte(got.stdout), &answer); err != nil || answer.Verdict != access.VerdictRefused {
		t.Errorf("%v: %+v", err, got)
	}
	list := ask("--tier", "lsm", "--annotation", "shimward.dev/profile=strict", "--annotation", "shimward.dev/allow=/usr/bin/gdb,/usr/bin/strace",
		"--allowed", "ptrace", "child")
	if list.code != 0 || !strings.Contains(list.stdout, "strict.allow") {
		t.Errorf("a list in an annotation: %+v", list)
	}
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"proc_mem"}, "VECTOR and a RELATION"},
		{[]string{"door", "host"}, `unknown vector "door"`},
		{[]string{"proc_mem", "aunt"}, "other-container"},
		{[]string{"proc_mem", "host"}, "--tier"},
		{[]string{"--annotation", "x", "proc_mem", "host"}, "KEY=VALUE"},
		{[]string{"--annotation", "shimward.dev/mode=loud", "proc_mem", "host"}, "enforce"},
		{[]string{"--container", "nobody", "proc_mem", "host"}, "shimward ps"},
		{[]string{"--container", "x", "--namespace", "y", "proc_mem", "host"}, "leave"},
	} {
		if got := ask(test.args...); got.code != statusError || !strings.Contains(got.stderr, test.want) {
			t.Errorf("%v: %+v", test.args, got)
		}
	}
}
