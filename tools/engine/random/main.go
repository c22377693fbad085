// Command pulumi-resource-random is the random provider plugin for pulumi_random 4.x: upstream's provider behind Pulumi's bridge,
// with the tokens and property names that the Python SDK sends (compared by tests/engine).
package main

import (
	"context"
	"errors"

	pf "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/pf/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge/tokens"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/terraform-providers/terraform-provider-random/internal/provider"

	"engine/names"
)

// version is set by the linker to the version of pulumi_random.
var version = "0.0.0-dev"

func main() {
	info := info()
	if !names.PrintIfAsked(info) {
		pf.Main(context.Background(), info.Name, info, pf.ProviderMetadata{PackageSchema: []byte("{}")})
	}
}

func info() tfbridge.ProviderInfo {
	info := tfbridge.ProviderInfo{
		P:            pf.ShimProvider(provider.New()),
		Name:         "random",
		Version:      version,
		MetadataInfo: tfbridge.NewProviderMetadata([]byte("{}")),
		Resources: map[string]*tfbridge.ResourceInfo{
			"random_bytes": {ComputeID: idOfBytes},
		},
	}
	prefixed := func(module, name string) (string, error) {
		return tokens.MakeStandard("random")(module, "Random"+name)
	}
	info.MustComputeTokens(tokens.SingleModule("random_", "index", prefixed))
	return info
}

// idOfBytes is the resource's value, as in the published plugin: upstream gives this resource no id, and an id cannot be secret.
func idOfBytes(_ context.Context, state resource.PropertyMap) (resource.ID, error) {
	value := state["base64"]
	if value.IsSecret() {
		value = value.SecretValue().Element
	}
	if !value.IsString() {
		return "", errors.New("random_bytes: the provider returned no base64")
	}
	return resource.ID(value.StringValue()), nil
}
