// Corrects the published UI (PyPI wheel skyvern-ui 1.0.56) and checks that it is the one we know.
//
//   node patch.mjs DIST        changes the files of DIST in place, or fails and says what does not fit
//
// Run by both builds of the UI: the gateway image's and build.mjs. Placeholders are filled elsewhere.
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

// With local storage the API gives every artifact a signed_url of the form file:///data/artifacts/... For images and recordings the UI
// turns it into ${VITE_ARTIFACT_API_BASE_URL}/artifact/{image,recording}?path=...; the panels for JSON, HTML and text do that only when
// there is no signed_url, else they GET file://, which no browser allows (src/routes/tasks/detail/Artifact.tsx, seen in 1.0.50 and
// 1.0.56). With the condition below they take their own second branch: /artifact/json and /artifact/text with the path as parameter.
export const replacements = [
  {
    what: "artifact panels must not fetch file:// addresses",
    from: "if(d.signed_url)return YLt(d.signed_url,d.artifact_id,n);",
    to: 'if(d.signed_url&&!d.signed_url.startsWith("file://"))return YLt(d.signed_url,d.artifact_id,n);',
    count: 1,
  },
  // Skyvern answers both for ENV=local only, and the UI takes a 404 for "fine" (useAuthDiagnostics.ts). Where the API is another origin,
  // the browser shows it no 404 of a refused preflight, and it puts "Unable to verify Skyvern API key" over every page.
  {
    what: "the UI must not ask for diagnostics that are served for ENV=local only",
    from: '(await e.get("/internal/auth/status")).data',
    to: '{status:"ok"}',
    count: 1,
  },
  {
    what: "the UI must not ask for diagnostics that are served for ENV=local only",
    from: '(await e.get("/internal/llms/status")).data',
    to: '{status:"ok",default_llm_key:"",has_server_configured_llm:!0,custom_llm_count:0,issues:[]}',
    count: 1,
  },
  // The content security policy stops both as well; each stop would be an error on the browser's console, at every page.
  {
    what: "the UI must not report to the analytics that are compiled in",
    from: '{api_host:"https://app.posthog.com",before_send:Iyn}',
    to: '{api_host:"https://app.posthog.com",before_send:()=>null,advanced_disable_flags:!0,disable_external_dependency_loading:!0}',
    count: 1,
  },
  {
    what: "the UI must not ask GitHub for its stars",
    from: 'queryFn:async()=>{const t=await fetch(Xhn,{headers:{Accept:"application/vnd.github+json"}});return t.ok?(await t.json()).stargazers_count:null}',
    to: "queryFn:async()=>null",
    count: 1,
  },
  // Links that lead nowhere for who runs Skyvern alone; all of the UI's links and what became of each: docs/korean-ui.md.
  {
    what: "the UI must not sell demos of the vendor's cloud",
    from: ',{label:"Book a demo",href:"https://www.skyvern.com/contact",icon:i.jsx(Ph,{className:"size-4"}),cta:!0}];function tpn(',
    to: "];function tpn(",
    count: 1,
  },
  {
    what: "the UI must not lead to recipes, whose pages only say that they are a private beta of the vendor's cloud",
    from: "return i.jsx(mpn,{items:s,collapsed:e})",
    to: 'return i.jsx(mpn,{items:s.filter(({to:a})=>a!=="/recipes"),collapsed:e})',
    count: 1,
  },
  {
    what: "the UI must not have pages that only apply for a private beta of the vendor's cloud",
    from: '{path:"recipes",element:i.jsx(wm,{}),children:[{index:!0,element:i.jsx(hyn,{})}]},...Tyn,',
    to: "",
    count: 1,
  },
  {
    what: "who runs Skyvern alone has no contract for the vendor's support",
    from: 'Esn="mailto:support@skyvern.com"',
    to: 'Esn="https://github.com/skyvern-ai/skyvern/issues"',
    count: 1,
  },
  {
    what: "who runs Skyvern alone pays nobody for a browser that is open",
    from: " You're billed while a browser is alive.",
    to: "",
    count: 1,
  },
  {
    what: "the vendor's page about two factors is elsewhere",
    from: 'to:"https://www.skyvern.com/docs/credentials#two-factor-authentication"',
    to: 'to:"https://www.skyvern.com/docs/developers/credentials/handle-2fa"',
    count: 1,
  },
];

// What the start of the gateway fills in; one that is new or gone must not go unnoticed.
export const placeholders = [
  "__VITE_API_BASE_URL_PLACEHOLDER__",
  "__VITE_ARTIFACT_API_BASE_URL_PLACEHOLDER__",
  "__VITE_BROWSER_STREAMING_MODE_PLACEHOLDER__",
  "__VITE_WSS_BASE_URL_PLACEHOLDER__",
];

/**
 * Makes replacements in the texts of scripts; throws when one fits another number of times. from: a string, or a pattern, whose groups
 * are $1, $2 ... in `to`. program: whose they are.
 */
export function replace(scripts, wanted, program) {
  for (const { what, from, to, count } of wanted) {
    // As a function, `to` is taken as it is written.
    const put = from instanceof RegExp ? to : () => to;
    const all = from instanceof RegExp ? new RegExp(from, "g") : from;
    const found = scripts.reduce((sum, { text }) => sum + (from instanceof RegExp ? [...text.matchAll(all)].length : text.split(from).length - 1), 0);
    if (found !== count) {
      throw new Error(`${what}: expected ${count} place(s), found ${found}; this UI is not the version that ${program} was written for`);
    }
    for (const script of scripts) {
      script.text = script.text.replaceAll(all, put);
    }
  }
}

/** Patches the scripts below dist; throws when a replacement fits another number of times or the placeholders differ. */
export function patch(dist) {
  const assets = join(dist, "assets");
  const scripts = readdirSync(assets)
    .filter((name) => name.endsWith(".js"))
    .sort()
    .map((name) => ({ path: join(assets, name), text: readFileSync(join(assets, name), "utf8") }));
  replace(scripts, replacements, "patch.mjs");
  const present = new Set(scripts.flatMap((script) => script.text.match(/__[A-Z0-9_]+_PLACEHOLDER__/g) ?? []));
  const differing = [...placeholders.filter((name) => !present.has(name)), ...[...present].filter((name) => !placeholders.includes(name))];
  if (differing.length > 0) {
    throw new Error(`placeholders changed: ${differing.sort().join(", ")}`);
  }
  for (const script of scripts) {
    writeFileSync(script.path, script.text);
  }
}

if (process.argv[1] === import.meta.filename) {
  try {
    patch(process.argv[2]);
  } catch (error) {
    console.error(`patch: ${error.message}`);
    process.exit(1);
  }
}
