package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/shimward/shimward/internal/testenv"
)

// Error messages say how to get it right the next time.
func TestAllowRefuses(t *testing.T) {
	testenv.Root(t)
	config, _ := node(t)
	whole := []string{"--container", "web", "--exe", "/bin/gdb", "--for", "10m", "--why", "INC-42"}
	without := func(flag string) []string {
		at := slices.Index(whole, flag)
		return append(slices.Clone(whole[:at]), whole[at+2:]...)
	}
	with := func(flag, value string) []string { return append(without(flag), flag, value) }
	for _, test := range []struct {
		args []string
		want string
	}{
		{whole, `no guarded container is called "web"`},
		{append(whole, "--revoke"), "shimward ps"},
		{append(whole, "more"), "more"},
		{without("--container"), "--container and --exe"},
		{without("--exe"), "--container and --exe"},
		{without("--for"), "--for is 0s"},
		{with("--for", "25h"), "24h"},
		{without("--why"), "--why is missing"},
		{with("--why", "\x1b[2J"), "printable"},
		{with("--exe", "gdb"), `"/usr/bin/gdb"`},
		{with("--exe", "/bin/*"), "patterns are not supported"},
	} {
		got := shimward(t, setup{}, append([]string{"allow", "--config", config}, test.args...)...)
		if got.code != statusError || !strings.Contains(got.stderr, test.want) {
			t.Errorf("%v: %+v", test.args, got)
		}
	}
	if got := shimward(t, setup{}, "allow", "--config", config, "--list"); got.code != 0 || !strings.Contains(got.stdout, "no leases") {
		t.Errorf("%+v", got)
	}
	if got := shimward(t, setup{}, "allow", "--config", config, "--list", "--json"); got.code != 0 || strings.TrimSpace(got.stdout) != "[]" {
		t.Errorf("%+v", got)
	}
}
