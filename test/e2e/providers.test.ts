import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { build } from "esbuild";
import { exportJWK, generateKeyPair, type JWTPayload, SignJWT } from "jose";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import type { ChannelsClient } from "../../packages/client/src/client.ts";
import { type Block, blocksOf, onlyBlockOf } from "../support/documents.ts";
import { until } from "../support/client.ts";
import { Server, START_TIMEOUT_MS } from "../support/server.ts";
import { call, newChannel } from "./support.ts";

const DOCUMENT = "docs/guides/authentication.md";
const lines = readFileSync(DOCUMENT, "utf8").split("\n");
/** The heading that a block stands below. */
const headingOf = ({ line }: Block) =>
  lines
    .slice(0, line)
    .findLast((text) => text.startsWith("### "))
    ?.slice(4);

/** An auth database as docs/guides/authentication.md has it put, by its name. */
interface Recipe {
  dbo_id: number;
  secret?: string;
  jwks_url?: string;
  algorithm?: string;
  issuer: string;
  audience: string;
  extras_claim?: string;
}
const RECIPES = new Map(
  blocksOf("docs/guides/authentication.md", "sh").flatMap(({ code }) =>
    [...code.matchAll(/-X PUT \$S\/databases\/([\w-]+) .* -d '(\{\n[^']*)'/g)].map(
      ([, name = "", body = ""]) => [name, JSON.parse(body) as Recipe] as const,
    ),
  ),
);
const PROGRAMS = new Map(
  blocksOf("docs/guides/authentication.md", "ts").map((block) => [headingOf(block), block.code]),
);
const CLERK_TEMPLATE = JSON.parse(onlyBlockOf("docs/guides/authentication.md", "json").code) as {
  aud: string;
  extras: object;
};

interface Provider {
  heading: string;
  recipe: string;
  algorithm: string;
  /** The claims of its tokens, beside `iat` and `exp`, as its documentation describes them. */
  claims: JWTPayload;
  extras: object;
  /** Its SDK as far as the page calls it, with the types of the real one, and a token `JWT` of the test's. */
  sdk: { module: string; source: string };
}

const PROVIDERS: Provider[] = [
  {
    heading: "Auth0",
    recipe: "auth0",
    algorithm: "RS256",
    claims: {
      iss: "https://YOUR-TENANT.us.auth0.com/",
      sub: "auth0|5f7c8ec7c33c6c004bbafe82",
      aud: ["https://channels.example.com", "https://YOUR-TENANT.us.auth0.com/userinfo"],
      azp: "YOUR-CLIENT-ID",
      scope: "openid profile email",
      "https://example.com/extras": { name: "Carol" },
    },
    extras: { name: "Carol" },
    sdk: {
      module: "@auth0/auth0-spa-js",
      source: `
        interface Options { authorizationParams?: { audience?: string } }
        export async function createAuth0Client(options: { domain: string; clientId: string }) {
          if (options.domain !== "YOUR-TENANT.us.auth0.com") throw new Error("not this tenant");
          return {
            async getTokenSilently({ authorizationParams }: Options = {}): Promise<string | undefined> {
              return authorizationParams?.audience === "https://channels.example.com" ? JWT : "opaque";
            },
          };
        }`,
    },
  },
  {
    heading: "Clerk",
    recipe: "clerk",
    algorithm: "RS256",
    claims: {
      iss: "https://YOUR-APP.clerk.accounts.dev",
      sub: "user_2NNEqL2nrIRdJ194ndJqAHwEfxC",
      azp: "http://localhost:3000",
      jti: "a1b2c3",
      nbf: Math.floor(Date.now() / 1000) - 5,
      ...(JSON.parse(JSON.stringify(CLERK_TEMPLATE).replace("{{user.full_name}}", "Carol Danvers")) as JWTPayload),
    },
    extras: { name: "Carol Danvers" },
    sdk: {
      module: "@clerk/clerk-js",
      source: `
        interface Session { getToken(options?: { template?: string }): Promise<string | null> }
        export class Clerk {
          session: Session | null | undefined;
          constructor(readonly key: string) {}
          async load(): Promise<void> {
            this.session = { getToken: async ({ template } = {}) => (template === "durable-channels" ? JWT : null) };
          }
        }`,
    },
  },
  {
    heading: "Supabase",
    recipe: "supabase",
    algorithm: "ES256",
    claims: {
      iss: "https://YOUR-PROJECT.supabase.co/auth/v1",
      sub: "123e4567-e89b-12d3-a456-426614174000",
      aud: "authenticated",
      role: "authenticated",
      aal: "aal1",
      session_id: "7d0c6f3e-4a4b-4a1e-9c9f-3f5b1f2f7a10",
      email: "carol@example.com",
      phone: "",
      is_anonymous: false,
      app_metadata: { provider: "email" },
      user_metadata: { email: "carol@example.com" },
    },
    extras: {},
    sdk: {
      module: "@supabase/supabase-js",
      source: `
        interface Answer { data: { session: { access_token: string } | null } }
        export function createClient(url: string, _key: string) {
          if (url !== "https://YOUR-PROJECT.supabase.co") throw new Error("not this project");
          return { auth: { getSession: async (): Promise<Answer> => ({ data: { session: { access_token: JWT } } }) } };
        }`,
    },
  },
];

/** The JWT secret of a project that has no key pair. */
const LEGACY_SECRET = "a legacy secret of a project, of at least 32 bytes";

/** One of its own, whose databases have the names of the page. */
let server: Server;
beforeAll(async () => {
  server = await Server.start("--var", `AUTH_SECRET_SUPABASE:${LEGACY_SECRET}`);
}, START_TIMEOUT_MS);
afterAll(() => server.remove());

function recipeOf(name: string): Recipe {
  const recipe = RECIPES.get(name);
  if (!recipe) throw new Error(`${DOCUMENT} puts no database ${name}`);
  return recipe;
}

/** Puts a recipe with a key of the test's in place of the provider's. Returns how to sign by it, and a channel for its users. */
async function stage(name: string, algorithm: string) {
  const { jwks_url: _, ...recipe } = recipeOf(name);
  const { publicKey, privateKey } = await generateKeyPair(algorithm);
  const jwks = { keys: [{ ...(await exportJWK(publicKey)), kid: "first", alg: algorithm }] };
  const channel = await channelOf(name, { ...recipe, jwks });
  return { channel, sign: (claims: JWTPayload) => signed(claims, { alg: algorithm, kid: "first" }, privateKey) };
}

/** Stores an auth database, and makes a channel for its users. */
async function channelOf(name: string, config: object): Promise<string> {
  const channel = newChannel();
  const settings = { database: name, message_history: 25, public_messaging: { active: true, auth: true } };
  for (const [path, body] of [
    [`/databases/${name}`, config],
    [`/channels/${encodeURIComponent(channel)}`, settings],
  ] as const) {
    const answer = await call(server, "PUT", path, body);
    expect([answer.status, await answer.text()]).toEqual([200, expect.any(String)]);
  }
  return channel;
}

const signed = (claims: JWTPayload, header: { alg: string; kid?: string }, key: CryptoKey | Uint8Array) =>
  new SignJWT(claims).setProtectedHeader(header).setIssuedAt().setExpirationTime("1h").sign(key);

const statusFor = async (token: string, channel: string) =>
  (await call({ url: server.url, apiKey: token }, "GET", `/channels/${encodeURIComponent(channel)}/messages`)).status;

describe("the identity providers of docs/guides/authentication.md", () => {
  it("are all tested here", () => {
    const recipes = [...PROVIDERS.map(({ recipe }) => recipe), "supabase-legacy"];
    expect(new Set(RECIPES.keys())).toEqual(new Set(recipes));
    expect(blocksOf("docs/guides/authentication.md", "ts")).toHaveLength(PROVIDERS.length);
    expect(new Set(PROGRAMS.keys())).toEqual(new Set(PROVIDERS.map(({ heading }) => heading)));
  });

  it.each([...RECIPES])("can be configured as written: %s", async (name, recipe) => {
    const answer = await call(server, "PUT", `/databases/${name}`, recipe);
    // A host name is answered in lower case.
    const config = recipe.jwks_url === undefined ? recipe : { ...recipe, jwks_url: new URL(recipe.jwks_url).href };
    expect([answer.status, await answer.json()]).toMatchObject([200, { database: name, config }]);
  });

  it.each(PROVIDERS)(
    "have their users admitted, but no tokens for other audiences: $heading",
    async ({ recipe, algorithm, claims }) => {
      expect(recipeOf(recipe).algorithm).toBe(algorithm);
      const { channel, sign } = await stage(recipe, algorithm);
      expect(await statusFor(await sign(claims), channel)).toBe(200);
      const { aud: _, ...withoutAudience } = claims;
      const { iss: __, ...withoutIssuer } = claims;
      const others = [
        { ...claims, aud: "https://another.example" },
        { ...claims, iss: "https://another.example/" },
        withoutAudience,
        withoutIssuer,
      ];
      for (const other of others) expect(await statusFor(await sign(other), channel)).toBe(401);
    },
  );

  it("have users of a Supabase project with a legacy secret admitted, but not its anon key", async () => {
    const channel = await channelOf("supabase-legacy", recipeOf("supabase-legacy"));
    const { claims } = PROVIDERS.find(({ recipe }) => recipe === "supabase") ?? { claims: {} };
    const sign = (of: JWTPayload) => signed(of, { alg: "HS256" }, new TextEncoder().encode(LEGACY_SECRET));
    expect(await statusFor(await sign(claims), channel)).toBe(200);
    const anonKey = { iss: "supabase", ref: "YOUR-PROJECT", role: "anon" };
    for (const other of [anonKey, { ...claims, aud: "anon" }]) {
      expect(await statusFor(await sign(other), channel)).toBe(401);
    }
  });

  it.each(PROVIDERS)("let their users join a channel through their SDK: $heading", async (provider) => {
    const { channel, sign } = await stage(provider.recipe, provider.algorithm);
    const program = await bundled(provider, await sign(provider.claims));
    const { channels } = (await import(program)) as { channels: ChannelsClient };
    const room = channels.channel(channel);
    onTestFinished(() => room.close());
    await until(() => room.status === "online");
    const dbo_id = recipeOf(provider.recipe).dbo_id;
    expect(room.me).toMatchObject({ permissions: { dbo_id, row_id: provider.claims.sub }, extras: provider.extras });
    expect((await room.send("hello")).seq).toBe(1);
  });
});

/** Type-checks a provider's program and replaces its SDK. Returns the path to import it from. */
async function bundled({ heading, sdk }: Provider, token: string): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), "durable-channels-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const program = PROGRAMS.get(heading)?.replaceAll("http://localhost:8787", server.url) ?? "";
  writeFileSync(join(directory, "program.ts"), program);
  writeFileSync(join(directory, "sdk.ts"), `const JWT: string = ${JSON.stringify(token)};\n${sdk.source}`);
  const client = resolve("packages/client/src/client.ts");
  const paths = { "durable-channels-client": [client], [sdk.module]: [join(directory, "sdk.ts")] };
  const config = { extends: resolve("packages/client/tsconfig.json"), compilerOptions: { paths }, include: ["*.ts"] };
  writeFileSync(join(directory, "tsconfig.json"), JSON.stringify(config));
  await promisify(execFile)("tsc", ["-p", directory]).catch((error: { stdout: string }) => {
    throw new Error(`${heading}:\n${error.stdout}`);
  });
  const alias = { "durable-channels-client": client, [sdk.module]: join(directory, "sdk.ts") };
  const outfile = join(directory, "program.mjs");
  await build({ entryPoints: [join(directory, "program.ts")], bundle: true, format: "esm", outfile, alias });
  return pathToFileURL(outfile).href;
}
