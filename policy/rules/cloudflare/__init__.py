"""Rules for single resources of the Cloudflare provider. Here: the types of its resources, for rules of the whole stack, too."""

PROVIDER = "pulumi:providers:cloudflare"
TUNNEL = "cloudflare:index/zeroTrustTunnelCloudflared:ZeroTrustTunnelCloudflared"
INGRESS = "cloudflare:index/zeroTrustTunnelCloudflaredConfig:ZeroTrustTunnelCloudflaredConfig"
RECORD = "cloudflare:index/dnsRecord:DnsRecord"
SETTING = "cloudflare:index/zoneSetting:ZoneSetting"
DNSSEC = "cloudflare:index/zoneDnssec:ZoneDnssec"
RULESET = "cloudflare:index/ruleset:Ruleset"
ACCESS_POLICY = "cloudflare:index/zeroTrustAccessPolicy:ZeroTrustAccessPolicy"
ACCESS_APPLICATION = "cloudflare:index/zeroTrustAccessApplication:ZeroTrustAccessApplication"
NOTIFICATION = "cloudflare:index/notificationPolicy:NotificationPolicy"
BUCKET = "cloudflare:index/r2Bucket:R2Bucket"
BUCKET_LOCK = "cloudflare:index/r2BucketLock:R2BucketLock"
ACCOUNT_TOKEN = "cloudflare:index/accountToken:AccountToken"  # noqa: S105  a type
USER_TOKEN = "cloudflare:index/apiToken:ApiToken"  # noqa: S105  a type
FIREWALL_PHASE = "http_request_firewall_custom"
RATE_LIMIT_PHASE = "http_ratelimit"
# Names that such a record points at lead into a tunnel.
TUNNEL_DOMAIN = ".cfargotunnel.com"

DOCS = "https://developers.cloudflare.com/"
TUNNELS_URL = DOCS + "cloudflare-one/networks/connectors/cloudflare-tunnel/"
