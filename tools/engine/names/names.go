// Package names tells which tokens and properties a bridged provider answers to.
//
// The published plugins carry a generated schema for that. Generating one needs the whole code generator, and a partial schema
// would switch on the bridge's type checker, so a plugin of ours serves none and prints its names with "-names" instead: tests
// compare them with what the Python SDK sends.
package names

import (
	"encoding/json"
	"os"

	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	shim "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim"
)

// Properties of an object by Pulumi name, with their shapes: nil for a scalar or a map, Properties for an object, and a list of
// the element's shape for a list.
type Properties map[string]any

// Names of a provider: properties of its configuration, by resource token, and by function token.
type Names struct {
	Config    Properties            `json:"config"`
	Resources map[string]Properties `json:"resources"`
	Functions map[string]Properties `json:"functions"`
}

// PrintIfAsked answers "-names" with the provider's names as JSON and reports whether that was the question.
func PrintIfAsked(info tfbridge.ProviderInfo) bool {
	if len(os.Args) != 2 || os.Args[1] != "-names" {
		return false
	}
	if err := json.NewEncoder(os.Stdout).Encode(of(info)); err != nil {
		panic(err)
	}
	return true
}

func of(info tfbridge.ProviderInfo) Names {
	found := Names{
		Config:    properties(info.P.Schema(), info.Config),
		Resources: map[string]Properties{},
		Functions: map[string]Properties{},
	}
	for name, resource := range info.Resources {
		found.Resources[string(resource.Tok)] = properties(info.P.ResourcesMap().Get(name).Schema(), resource.Fields)
	}
	for name, function := range info.DataSources {
		found.Functions[string(function.Tok)] = properties(info.P.DataSourcesMap().Get(name).Schema(), function.Fields)
	}
	return found
}

func properties(fields shim.SchemaMap, overrides map[string]*tfbridge.SchemaInfo) Properties {
	found := Properties{}
	fields.Range(func(key string, field shim.Schema) bool {
		var shape any
		if block, is := field.Elem().(shim.Resource); is {
			shape = properties(block.Schema(), inner(overrides[key]))
		}
		list := field.Type() == shim.TypeList || field.Type() == shim.TypeSet
		if list && !tfbridge.IsMaxItemsOne(field, overrides[key]) {
			shape = []any{shape}
		}
		found[tfbridge.TerraformToPulumiNameV2(key, fields, overrides)] = shape
		return true
	})
	return found
}

func inner(override *tfbridge.SchemaInfo) map[string]*tfbridge.SchemaInfo {
	if override == nil {
		return nil
	}
	if override.Elem != nil {
		return override.Elem.Fields
	}
	return override.Fields
}
