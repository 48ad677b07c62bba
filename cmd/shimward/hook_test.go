package main

import (
	"testing"

	"github.com/shimward/shimward/hooks"
	"github.com/shimward/shimward/internal/relay"
)

// A hook without usable input must fail the container's creation; poststop must fail nothing.
func TestHooks(t *testing.T) {
	_, paths := node(t)
	state := `{"ociVersion":"1.2.0","id":"x","status":"creating","pid":1,"bundle":"/no/such/bundle"}`
	for _, stdin := range []string{"", "{", state} {
		s := setup{stdin: stdin, env: map[string]string{hooks.EnvRun: paths.Run, relay.EnvSocket: paths.Host("x"), relay.EnvHost: "1"}}
		if got := shimward(t, s, "hook", "create-runtime"); got.code != statusError || got.stderr == "" {
			t.Errorf("create-runtime with %q: %+v", stdin, got)
		}
		if got := shimward(t, s, "hook", "poststop"); got.code != 0 {
			t.Errorf("poststop with %q: %+v", stdin, got)
		}
	}
}
