package shim

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/api/types/runc/options"
	runtimeoptions "github.com/containerd/containerd/api/types/runtimeoptions/v1"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

func pack(t *testing.T, message any) *anypb.Any {
	t.Helper()
	packed, err := typeurl.MarshalAnyToProto(message)
	if err != nil {
		t.Fatal(err)
	}
	return packed
}

func TestTranslate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "options.toml")
	if err := os.WriteFile(file, []byte(`Root = "/from/file"`), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		given any
		want  *options.Options
	}{
		"runc's own":      {&options.Options{SystemdCgroup: true}, &options.Options{SystemdCgroup: true}},
		"nothing in it":   {&runtimeoptions.Options{}, &options.Options{}},
		"only a type URL": {&runtimeoptions.Options{TypeUrl: "x"}, &options.Options{}},
		"CRI's section": {
			&runtimeoptions.Options{ConfigBody: []byte("BinaryName = \"/usr/bin/crun\"\nSystemdCgroup = true\nIoUid = 7\nShimCgroup = \"\"\n")},
			&options.Options{BinaryName: "/usr/bin/crun", SystemdCgroup: true, IoUid: 7},
		},
		"names in another case": {&runtimeoptions.Options{ConfigBody: []byte(`systemdcgroup = true`)}, &options.Options{SystemdCgroup: true}},
		"with CRI's own fields": {&runtimeoptions.Options{ConfigBody: []byte("TypeUrl = \"x\"\nConfigPath = \"\"\nRoot = \"/r\"")}, &options.Options{Root: "/r"}},
		"a file before the body": {
			&runtimeoptions.Options{ConfigPath: file, ConfigBody: []byte(`Root = "/from/body"`)},
			&options.Options{Root: "/from/file"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := translate(pack(t, test.given))
			if err != nil {
				t.Fatal(err)
			}
			var opts options.Options
			if err := typeurl.UnmarshalTo(got, &opts); err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(&opts, test.want) {
				t.Errorf("got %v, want %v", &opts, test.want)
			}
		})
	}
}

func TestTranslateNothing(t *testing.T) {
	var typed *anypb.Any
	for name, given := range map[string]typeurl.Any{"nil": nil, "a typed nil": typed, "empty": &anypb.Any{}} {
		if got, err := translate(given); got != nil || err != nil {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
}

func TestTranslateRefuses(t *testing.T) {
	large := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(large, make([]byte, maxOptions+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		given *anypb.Any
		want  string
	}{
		"an unknown option": {pack(t, &runtimeoptions.Options{ConfigBody: []byte(`Rooot = "/r"`)}), `"Rooot" is not an option of runc`},
		"a nested option":   {pack(t, &runtimeoptions.Options{ConfigBody: []byte("[a]\nb = 1")}), `"a" is not`},
		"no TOML":           {pack(t, &runtimeoptions.Options{ConfigBody: []byte("\x00\xff")}), "parse the runtime's options"},
		"a wrong type":      {pack(t, &runtimeoptions.Options{ConfigBody: []byte(`SystemdCgroup = "yes"`)}), "parse the runtime's options"},
		"a negative uid":    {pack(t, &runtimeoptions.Options{ConfigBody: []byte(`IoUid = -1`)}), "parse the runtime's options"},
		"no such file":      {pack(t, &runtimeoptions.Options{ConfigPath: "/nonexistent/o.toml"}), "/nonexistent/o.toml"},
		"a relative file":   {pack(t, &runtimeoptions.Options{ConfigPath: "o.toml"}), "absolute path"},
		"a folder":          {pack(t, &runtimeoptions.Options{ConfigPath: t.TempDir()}), "not a regular file"},
		"a large file":      {pack(t, &runtimeoptions.Options{ConfigPath: large}), "larger than"},
		"another type":      {pack(t, &options.CheckpointOptions{}), "CheckpointOptions"},
		"an unknown type":   {&anypb.Any{TypeUrl: "no.such.Type", Value: []byte{1}}, "read the runtime's options"},
		"broken bytes":      {&anypb.Any{TypeUrl: "runtimeoptions.v1.Options", Value: []byte{0xff}}, "read the runtime's options"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := translate(test.given)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, %v; want an error with %q", got, err, test.want)
			}
		})
	}
}
