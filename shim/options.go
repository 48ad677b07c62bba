package shim

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/api/types/runc/options"
	runtimeoptions "github.com/containerd/containerd/api/types/runtimeoptions/v1"
	"github.com/containerd/typeurl/v2"
	toml "github.com/pelletier/go-toml/v2"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/shimward/shimward/internal/files"
)

// maxOptions limits the size of a runtime's options file, in bytes.
const maxOptions = 1 << 20

// runcOptions is the TOML form of a runtime's options, as written in containerd's config under
// [...runtimes.NAME.options]. The names are those that containerd uses for runc itself.
type runcOptions struct {
	NoPivotRoot   bool
	NoNewKeyring  bool
	ShimCgroup    string
	IoUID         uint32 `toml:"IoUid"`
	IoGID         uint32 `toml:"IoGid"`
	BinaryName    string
	Root          string
	SystemdCgroup bool
	CriuImagePath string
	CriuWorkPath  string

	// CRI adds its own two fields to the same text if they are set.
	TypeURL    string `toml:"TypeUrl"`
	ConfigPath string
}

// translate converts the options that containerd passes to a runtime to runc's options, which the
// embedded service accepts. CRI and `ctr --runtime-config-path` pass runtimeoptions.v1.Options to
// every runtime type but io.containerd.runc.v2 (containerd, internal/cri/config,
// getRuntimeOptionsType). runc's own options pass unchanged. If there are no options, translate
// returns nil.
func translate(given typeurl.Any) (*anypb.Any, error) {
	if given == nil || (given.GetTypeUrl() == "" && len(given.GetValue()) == 0) {
		return nil, nil //nolint:nilnil // the embedded service takes nil for none
	}
	value, err := typeurl.UnmarshalAny(given)
	if err != nil {
		return nil, fmt.Errorf("read the runtime's options: %w", err)
	}
	var opts *options.Options
	switch value := value.(type) {
	case *options.Options:
		opts = value
	case *runtimeoptions.Options:
		if opts, err = parseOptions(value); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("the runtime's options are of type %q: shimward takes runc's options (containerd.runc.v1.Options), or runtimeoptions.v1.Options with the same in TOML", given.GetTypeUrl())
	}
	result, err := typeurl.MarshalAnyToProto(opts)
	if err != nil {
		return nil, fmt.Errorf("write runc's options: %w", err)
	}
	return result, nil
}

// parseOptions parses the TOML that generic options contain or refer to.
func parseOptions(given *runtimeoptions.Options) (*options.Options, error) {
	text, source := given.GetConfigBody(), "the runtime's options in containerd's config"
	if path := given.GetConfigPath(); path != "" {
		source = "the runtime's options file " + path
		var err error
		if text, err = readOptionsFile(path); err != nil {
			return nil, fmt.Errorf("read %s: %w", source, err)
		}
	}
	var parsed runcOptions
	decoder := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields()
	if err := decoder.Decode(&parsed); err != nil {
		var unknown *toml.StrictMissingError
		if errors.As(err, &unknown) && len(unknown.Errors) > 0 {
			return nil, fmt.Errorf("%s: %q is not an option of runc: remove it, or see containerd's docs for the options of io.containerd.runc.v2", source, strings.Join(unknown.Errors[0].Key(), "."))
		}
		return nil, fmt.Errorf("parse %s: %w", source, err)
	}
	return &options.Options{
		NoPivotRoot:   parsed.NoPivotRoot,
		NoNewKeyring:  parsed.NoNewKeyring,
		ShimCgroup:    parsed.ShimCgroup,
		IoUid:         parsed.IoUID,
		IoGid:         parsed.IoGID,
		BinaryName:    parsed.BinaryName,
		Root:          parsed.Root,
		SystemdCgroup: parsed.SystemdCgroup,
		CriuImagePath: parsed.CriuImagePath,
		CriuWorkPath:  parsed.CriuWorkPath,
	}, nil
}

func readOptionsFile(path string) ([]byte, error) {
	if !filepath.IsAbs(path) {
		return nil, errors.New("write its absolute path: the shim's working directory is the container's bundle")
	}
	return files.Read(path, maxOptions)
}
