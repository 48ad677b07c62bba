package installer

import "testing"

func TestAddressOf(t *testing.T) {
	for _, test := range []struct{ cmdline, want string }{
		{"/bin/containerd-shim-runc-v2\x00-namespace\x00k8s.io\x00-id\x00a\x00-address\x00/run/k3s/containerd/containerd.sock\x00", "/run/k3s/containerd/containerd.sock"},
		{"shim\x00-address\x00unix:///run/containerd/containerd.sock", "/run/containerd/containerd.sock"},
		{"/usr/bin/conmon\x00-b\x00/run\x00", ""},
		{"shim\x00-address", ""},
		{"", ""},
	} {
		if got := addressOf(test.cmdline); got != test.want {
			t.Errorf("of %q it is %q", test.cmdline, got)
		}
	}
}
