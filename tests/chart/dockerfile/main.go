// Reads the Dockerfile as BuildKit does, and prints for each platform what would be run where, the image, and BuildKit's warnings.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// bases stands in for a registry: every image of a version is there, with a layer. Others may be stages that are missing.
type bases struct{}

func (bases) ResolveImageConfig(_ context.Context, ref string, opt sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	if strings.HasSuffix(ref, ":latest") {
		return "", "", nil, fmt.Errorf("neither a stage nor an image of a version: %s", ref)
	}
	layer := digest.FromString(ref)
	config, err := json.Marshal(ocispecs.Image{
		Platform: *opt.ImageOpt.Platform,
		RootFS:   ocispecs.RootFS{Type: "layers", DiffIDs: []digest.Digest{layer}},
	})
	return ref, layer, config, err
}

type run struct {
	Platform string
	Command  []string
}

type built struct {
	Image    any
	Runs     []run
	Warnings []string
}

func read(dockerfile []byte, builder, target ocispecs.Platform) (*built, error) {
	out := &built{}
	result, err := dockerfile2llb.Dockerfile2LLB(context.Background(), dockerfile, dockerfile2llb.ConvertOpt{
		Config:         dockerui.Config{BuildPlatforms: []ocispecs.Platform{builder}},
		TargetPlatform: &target,
		MetaResolver:   bases{},
		Warn: func(rule, description, url, message string, location []parser.Range) {
			out.Warnings = append(out.Warnings, rule+": "+message)
		},
	})
	if err != nil {
		return nil, err
	}
	out.Image = result.Image
	definition, err := result.State.Marshal(context.Background())
	if err != nil {
		return nil, err
	}
	for _, bytes := range definition.Def {
		var op pb.Op
		if err := op.UnmarshalVT(bytes); err != nil {
			return nil, err
		}
		if exec := op.GetExec(); exec != nil {
			out.Runs = append(out.Runs, run{op.Platform.OS + "/" + op.Platform.Architecture, exec.Meta.Args})
		}
	}
	return out, nil
}

func main() {
	dockerfile, err := os.ReadFile(os.Args[1])
	out := map[string]*built{}
	builder := ocispecs.Platform{OS: "linux", Architecture: "amd64"}
	for _, architecture := range os.Args[2:] {
		if err == nil {
			out[architecture], err = read(dockerfile, builder, ocispecs.Platform{OS: "linux", Architecture: architecture})
		}
	}
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
