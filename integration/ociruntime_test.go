package integration

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/shimward/shimward/event"
	"github.com/shimward/shimward/integration/internal/node"
)

// runtimeLink is a link to shimward as `make install` makes it, for engines that take a runtime by its path alone.
func runtimeLink(t *testing.T) string {
	t.Helper()
	bin := folder(t, "SHIMWARD_BIN", "shimward's binaries (make build)", "../bin", "shimward")
	link := filepath.Join(t.TempDir(), "shimward-runc")
	if err := os.Symlink(filepath.Join(bin, "shimward"), link); err != nil {
		t.Fatal(err)
	}
	return link
}

// runcConfig names the real runtime in shimward's config.
func runcConfig(t *testing.T) string {
	t.Helper()
	return "[runc]\npath = '" + filepath.Join(engines(t), "runc") + "'\n"
}

// Every vector, under the stock shim with shimward in runc's place.
func TestRuntimeFirst(t *testing.T) {
	link := runtimeLink(t)
	n := startGuardedNode(t, node.Options{Config: runcConfig(t)})
	c := mustDetach(t, n, node.Spec{ID: "first", Runtime: node.Runc, Binary: link, Annotations: enforceStrict()})
	wantGuarded(t, n, c, "try", true)
	if err := c.Delete(testContext(t)); err != nil {
		t.Error(err)
	}
	wantLife(t, n, c.ID, event.KindCreated, event.KindStarted, event.KindExited, event.KindDeleted)
	wantSettled(t, n)
	all, _ := n.Events(testContext(t), c.ID)
	t.Log(describe(all))
}
