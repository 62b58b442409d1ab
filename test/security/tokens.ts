import { type CryptoKey, decodeJwt, exportJWK, generateKeyPair, SignJWT } from "jose";
import { beforeAll, describe, expect, it } from "vitest";
import { MAX_EXTRAS_BYTES, MAX_TOKEN_LENGTH } from "../../src/protocol/limits.ts";
import { API_KEY, newDatabase, newOpenChannel, tokenOf } from "../unit/support.ts";
import { ask, BY_API_KEY, open, outcomeOf, pathOf, post, SECRET } from "./support.ts";

/** Channels that admit users only: of a database with a secret, of one with public keys, and of another one with a secret. */
let hs = { database: "", channel: "", claims: {} as Record<string, unknown> };
let es = { database: "", channel: "" };
let rs = { database: "", channel: "" };
let esKey: CryptoKey;
let rsKey: CryptoKey;
let strangerKey: CryptoKey;
let rsPublic: { jwk: object; spki: Uint8Array; pem: string };
let strangerJwk: object;

const ISSUER = "https://issuer.test";
const AUDIENCE = "chat";
/** How far clocks may differ (AUT6), in seconds. */
const LEEWAY_SECONDS = 5;

beforeAll(async () => {
  hs = { ...(await newMembers({})), claims: {} };
  hs.claims = decodeJwt(await tokenOf(hs.database, 42));
  const pair = await generateKeyPair("ES256", { extractable: true });
  const strangers = await generateKeyPair("ES256", { extractable: true });
  const rsPair = await generateKeyPair("RS256", { extractable: true });
  [esKey, strangerKey, rsKey] = [pair.privateKey, strangers.privateKey, rsPair.privateKey];
  strangerJwk = await exportJWK(strangers.publicKey);
  const spki = new Uint8Array((await crypto.subtle.exportKey("spki", rsPair.publicKey)) as ArrayBuffer);
  const pem = `-----BEGIN PUBLIC KEY-----\n${btoa(String.fromCharCode(...spki))}\n-----END PUBLIC KEY-----\n`;
  rsPublic = { jwk: { ...(await exportJWK(rsPair.publicKey)), kid: "the-key", alg: "RS256" }, spki, pem };
  const jwk = { ...(await exportJWK(pair.publicKey)), kid: "the-key", alg: "ES256" };
  es = await newMembers({ jwks: { keys: [jwk] }, algorithm: "ES256", issuer: ISSUER, audience: AUDIENCE });
  rs = await newMembers({ jwks: { keys: [rsPublic.jwk] }, algorithm: "RS256", issuer: ISSUER, audience: AUDIENCE });
});

async function newMembers(keys: object) {
  const config = Object.keys(keys).length > 0 ? { secret: undefined, ...keys } : {};
  const database = await newDatabase(config);
  // Anybody may enter as well: whoever shows a bad token must still be refused (AUT1).
  return { database, channel: await newOpenChannel({ presence: true, database }) };
}

const text = new TextEncoder();
const now = () => Math.floor(Date.now() / 1000);
const base64url = (value: string | Uint8Array) => {
  const bytes = typeof value === "string" ? text.encode(value) : value;
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
};
const json = (value: unknown) => base64url(JSON.stringify(value));

/** Signs two texts, whatever they hold, by HS256. */
async function hmac(header: string, payload: string, secret: Uint8Array = SECRET): Promise<string> {
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", secret, algorithm, false, ["sign"]);
  const signature = await crypto.subtle.sign("HMAC", key, text.encode(`${header}.${payload}`));
  return `${header}.${payload}.${base64url(new Uint8Array(signature))}`;
}

/** A token by the first database's secret: its good claims, with these changes. A claim that is undefined is left out. */
const byHs = (changes: object = {}, header: object = {}, secret = SECRET) =>
  hmac(json({ alg: "HS256", typ: "JWT", ...header }), json({ ...hs.claims, ...changes }), secret);

/** A token by the first database's secret, with claims given as text behind the good ones. */
const byHsText = (claims: string, header = '{"alg":"HS256","typ":"JWT"}') =>
  hmac(base64url(header), base64url(`${JSON.stringify(hs.claims).slice(0, -1)},${claims}}`));

/** A token by the key of a database with public keys. */
function byKey(
  algorithm: "ES256" | "RS256",
  header: object = {},
  claims: object = {},
  key = algorithm === "ES256" ? esKey : rsKey,
): Promise<string> {
  const all = { sub: "42", iss: ISSUER, aud: AUDIENCE, exp: now() + 600, ...claims };
  return new SignJWT(all).setProtectedHeader({ alg: algorithm, kid: "the-key", ...header }).sign(key);
}
const byEs = (header: object = {}, claims: object = {}, key = esKey) => byKey("ES256", header, claims, key);

/** Replaces a token's parts. */
async function altered(token: Promise<string>, change: (parts: string[]) => string[]): Promise<string> {
  return change((await token).split(".")).join(".");
}
const withSignature = (token: Promise<string>, signature: string) =>
  altered(token, ([header = "", payload = ""]) => [header, payload, signature]);

/** Flips one bit of a token's signature. */
function flipped(token: Promise<string>, bit: number): Promise<string> {
  return altered(token, ([header = "", payload = "", signature = ""]) => {
    const bytes = Uint8Array.from(atob(signature.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
    bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    return [header, payload, base64url(bytes)];
  });
}

const ES_ORDER = "FFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551";
const ofHex = (hex: string) => Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));

type Case = [name: string, channel: () => { channel: string }, token: () => Promise<string> | string];
const onHs = () => hs;
const onEs = () => es;
const onRs = () => rs;

const ALGORITHMS: Case[] = [
  ...["none", "None", "NONE", "nOnE", ""].map((alg): Case => [
    `alg ${JSON.stringify(alg)} and no signature`,
    onHs,
    () => `${json({ alg })}.${json(hs.claims)}.`,
  ]),
  ["alg none and a good signature", onHs, () => byHs({}, { alg: "none" })],
  ["alg none on a database with public keys", onEs, () => withSignature(byEs(), "")],
  ["no alg", onHs, () => byHs({}, { alg: undefined })],
  ...[null, 256, ["HS256"], { HS256: true }, "hs256", "HS256 ", "HS384", "HS512", "dir", "A256GCM", "ES256K"].map(
    (alg): Case => [`alg ${JSON.stringify(alg)}`, onHs, () => byHs({}, { alg })],
  ),
  ["HS256 with the public key as secret (DER)", onRs, () => confused(rsPublic.spki)],
  ["HS256 with the public key as secret (PEM)", onRs, () => confused(text.encode(rsPublic.pem))],
  ["HS256 with the public key as secret (JWK)", onRs, () => confused(text.encode(JSON.stringify(rsPublic.jwk)))],
  ["HS256 with an empty secret", onHs, () => byHs({}, {}, new Uint8Array(1))],
  ["HS256 by another secret", onHs, () => byHs({}, {}, text.encode("another secret, which is of 32 bytes, too"))],
  ["HS256 by the API key", onHs, () => byHs({}, {}, text.encode(API_KEY))],
  ["RS256 where ES256 is set", onEs, () => byKey("RS256")],
  ["ES256 where RS256 is set", onRs, () => byEs()],
  ["PS256 in the header of an RS256 signature", onRs, () => altered(byKey("RS256"), headed({ alg: "PS256" }))],
  ["the right key with another algorithm's name", onEs, () => altered(byEs(), headed({ alg: "ES384" }))],
];
const confused = (secret: Uint8Array) =>
  hmac(
    json({ alg: "HS256", kid: "the-key" }),
    json({ sub: "42", iss: ISSUER, aud: AUDIENCE, exp: now() + 600 }),
    secret,
  );
const headed =
  (header: object) =>
  ([, payload = "", signature = ""]: string[]) => [json({ kid: "the-key", ...header }), payload, signature];

const TIMES: Case[] = [
  ["no exp", onHs, () => byHs({ exp: undefined })],
  ["an exp in the past", onHs, () => byHs({ exp: now() - 3_600 })],
  ["an exp one second beyond the leeway", onHs, () => byHs({ exp: now() - LEEWAY_SECONDS - 1 })],
  ["exp 0", onHs, () => byHs({ exp: 0 })],
  ["a negative exp", onHs, () => byHs({ exp: -1 })],
  ...["null", "true", '""', '"soon"', '"4102444800"', "[4102444800]", "{}", "1e400", "-1e400", "9007199254740993"].map(
    (exp): Case => [`exp ${exp}`, onHs, () => byHsText(`"exp":${exp}`)],
  ),
  ["an nbf in the future", onHs, () => byHs({ nbf: now() + 600 })],
  ["an nbf beyond the leeway", onHs, () => byHs({ nbf: now() + LEEWAY_SECONDS + 60 })],
  ...["null", '"0"', "[0]", "{}", "1e400"].map((nbf): Case => [`nbf ${nbf}`, onHs, () => byHsText(`"nbf":${nbf}`)]),
  ...['"0"', "[0]", "{}"].map((iat): Case => [`iat ${iat}`, onHs, () => byHsText(`"iat":${iat}`)]),
];

const PARTIES: Case[] = [
  ["no iss", onEs, () => byEs({}, { iss: undefined })],
  ["another iss", onEs, () => byEs({}, { iss: "https://evil.test" })],
  ["an iss with a slash more", onEs, () => byEs({}, { iss: `${ISSUER}/` })],
  ["an iss in upper case", onEs, () => byEs({}, { iss: ISSUER.toUpperCase() })],
  ["an iss as array", onEs, () => byEs({}, { iss: [ISSUER] })],
  ["iss null", onEs, () => byEs({}, { iss: null })],
  ["no aud", onEs, () => byEs({}, { aud: undefined })],
  ["another aud", onEs, () => byEs({}, { aud: "mail" })],
  ["an aud that only begins right", onEs, () => byEs({}, { aud: `${AUDIENCE}2` })],
  ["an empty list as aud", onEs, () => byEs({}, { aud: [] })],
  ["others in aud", onEs, () => byEs({}, { aud: ["mail", "files"] })],
  ["a list in the list of aud", onEs, () => byEs({}, { aud: [[AUDIENCE]] })],
  ["an object as aud", onEs, () => byEs({}, { aud: { [AUDIENCE]: true } })],
];

const KEYS: Case[] = [
  ...[
    "unknown",
    "",
    "../../../dev/null",
    "the-key' OR '1'='1",
    "the-key\u0000",
    "THE-KEY",
    "x".repeat(6_000),
    "__proto__",
    "constructor",
  ].map((kid): Case => [`kid ${JSON.stringify(kid).slice(0, 30)}`, onEs, () => byEs({ kid })]),
  // The signature is good as well, so only the type of the kid is wrong.
  ...[["the-key"], { "the-key": 1 }, 1, true].map((kid): Case => [
    `kid ${JSON.stringify(kid)}`,
    onEs,
    () => altered(byEs(), headed({ alg: "ES256", kid })),
  ]),
  ["its own key in jwk", onEs, () => byEs({ jwk: strangerJwk }, {}, strangerKey)],
  ["its own key in jwk, without kid", onEs, () => byEs({ kid: undefined, jwk: strangerJwk }, {}, strangerKey)],
  ["its own keys at jku", onEs, () => byEs({ jku: "https://evil.test/jwks.json" }, {}, strangerKey)],
  ["its own keys at a local jku", onEs, () => byEs({ jku: "http://localhost/jwks.json" }, {}, strangerKey)],
  ["its own certificate at x5u", onEs, () => byEs({ x5u: "https://evil.test/cert.pem" }, {}, strangerKey)],
  ["its own certificate in x5c", onEs, () => byEs({ x5c: ["MIIB"] }, {}, strangerKey)],
  ["another key under the right kid", onEs, () => byEs({}, {}, strangerKey)],
  ["an unknown crit", onHs, () => byHs({}, { crit: ["evil"], evil: true })],
  ["an empty crit", onHs, () => byHs({}, { crit: [] })],
  ["a crit that names alg", onHs, () => byHs({}, { crit: ["alg"] })],
  ["b64 false", onHs, () => byHs({}, { b64: false, crit: ["b64"] })],
  ["zip", onHs, () => altered(byHs({}, { zip: "DEF" }), ([header = "", , signature = ""]) => [header, "", signature])],
];

const SHAPES: Case[] = [
  ["no segment at all", onHs, () => "x"],
  ["dots only", onHs, () => ".."],
  ["one segment", onHs, () => altered(byHs(), (parts) => parts.slice(0, 1))],
  ["two segments", onHs, () => altered(byHs(), (parts) => parts.slice(0, 2))],
  ["four segments", onHs, () => altered(byHs(), (parts) => [...parts, "x"])],
  ["five segments, as an encrypted token", onHs, () => altered(byHs(), (parts) => [...parts, "x", "y"])],
  ["an empty segment in front", onHs, () => altered(byHs(), (parts) => ["", ...parts])],
  ["an empty segment at the end", onHs, () => altered(byHs(), (parts) => [...parts, ""])],
  ["no header", onHs, () => altered(byHs(), ([, payload = "", signature = ""]) => ["", payload, signature])],
  ["no claims", onHs, () => hmac(json({ alg: "HS256" }), "")],
  ["claims that are no JSON", onHs, () => hmac(json({ alg: "HS256" }), base64url("exp=4102444800"))],
  [
    "claims that are not UTF-8",
    onHs,
    () => hmac(json({ alg: "HS256" }), base64url(new Uint8Array([0x22, 0xff, 0x22]))),
  ],
  ...["[]", "null", "1", '"x"', "true"].map((claims): Case => [
    `claims ${claims}`,
    onHs,
    () => hmac(json({ alg: "HS256" }), base64url(claims)),
  ]),
  ...["[]", "null", "1", '"HS256"', "{", ""].map((header): Case => [
    `the header ${header}`,
    onHs,
    () => hmac(base64url(header), json(hs.claims)),
  ]),
  [
    "claims cut off",
    onHs,
    () => altered(byHs(), ([header = "", payload = "", s = ""]) => [header, payload.slice(0, -4), s]),
  ],
  [
    "claims changed after signing",
    onHs,
    () => altered(byHs(), ([h = "", , s = ""]) => [h, json({ ...hs.claims, sub: "1" }), s]),
  ],
  [
    "a header changed after signing",
    onHs,
    () => altered(byHs(), ([, p = "", s = ""]) => [json({ alg: "HS256" }), p, s]),
  ],
  [
    "a signature with a character of no alphabet",
    onHs,
    () => altered(byHs(), ([h = "", p = "", s = ""]) => [h, p, `${s.slice(0, -1)}!`]),
  ],
  ["a percent-encoded dot", onHs, async () => (await byHs()).replaceAll(".", "%2E")],
  ["more characters than a token may have", onHs, () => byHs({ padding: "x".repeat(MAX_TOKEN_LENGTH) })],
  ["a JSON serialization", onHs, async () => asJson(await byHs())],
];
const asJson = (token: string) => {
  const [header, payload, signature] = token.split(".");
  return JSON.stringify({ protected: header, payload, signature }).replaceAll(",", ";");
};

/** Texts that a lenient decoder takes for the same bytes as the right ones (RFC 7515, section 2). */
const ENCODINGS: Case[] = [
  [
    "the alphabet of plain base64 in the claims",
    onHs,
    () => hmac(json({ alg: "HS256" }), plain(json({ ...hs.claims, a: "???>>>~~~ÿÿÿ" }))),
  ],
  ["the alphabet of plain base64 in the signature", onHs, () => plainSignature()],
];
const plain = (part: string) => part.replaceAll("-", "+").replaceAll("_", "/");

/** A token whose signature has characters that differ between the alphabets, in the wrong one. */
async function plainSignature(): Promise<string> {
  for (let n = 0; ; n++) {
    const token = await byHs({ n });
    const [header = "", payload = "", signature = ""] = token.split(".");
    if (/[-_]/.test(signature)) return `${header}.${payload}.${plain(signature)}`;
  }
}

const SIGNATURES: Case[] = [
  ["no signature", onHs, () => withSignature(byHs(), "")],
  ["half a signature", onHs, () => altered(byHs(), ([h = "", p = "", s = ""]) => [h, p, s.slice(0, s.length / 2)])],
  ["a signature twice", onHs, () => altered(byHs(), ([h = "", p = "", s = ""]) => [h, p, s + s])],
  [
    "another token's signature",
    onHs,
    async () => withSignature(byHs(), (await byHs({ sub: "43" })).split(".")[2] ?? ""),
  ],
  ...[0, 1, 7, 8, 100, 255].map((bit): Case => [`bit ${bit} of the MAC flipped`, onHs, () => flipped(byHs(), bit)]),
  ...[0, 255, 256, 511].map((bit): Case => [
    `bit ${bit} of the ES256 signature flipped`,
    onEs,
    () => flipped(byEs(), bit),
  ]),
  ...[0, 1_000, 2_047].map((bit): Case => [
    `bit ${bit} of the RS256 signature flipped`,
    onRs,
    () => flipped(byKey("RS256"), bit),
  ]),
  ["ES256 with r and s zero", onEs, () => withSignature(byEs(), base64url(new Uint8Array(64)))],
  ["ES256 with r zero", onEs, () => withSignature(byEs(), base64url(new Uint8Array(64).fill(1, 32)))],
  ["ES256 with s zero", onEs, () => withSignature(byEs(), base64url(new Uint8Array(64).fill(1, 0, 32)))],
  ["ES256 with r and s of the order", onEs, () => withSignature(byEs(), base64url(ofHex(ES_ORDER + ES_ORDER)))],
  ["ES256 with r and s one", onEs, () => withSignature(byEs(), base64url(ofHex(`${"0".repeat(63)}1`.repeat(2))))],
  ["ES256 with all bits set", onEs, () => withSignature(byEs(), base64url(new Uint8Array(64).fill(255)))],
  ["ES256 in DER", onEs, () => withSignature(byEs(), base64url(ofHex("3006020100020100")))],
  ["ES256 with a byte less", onEs, () => withSignature(byEs(), base64url(new Uint8Array(63).fill(1)))],
  ["ES256 with a byte more", onEs, () => withSignature(byEs(), base64url(new Uint8Array(65).fill(1)))],
  ["RS256 with zeros", onRs, () => withSignature(byKey("RS256"), base64url(new Uint8Array(256)))],
  ["RS256 with one", onRs, () => withSignature(byKey("RS256"), base64url(new Uint8Array(256).fill(1, 255)))],
];

const CLAIMS: Case[] = [
  ["no sub", onHs, () => byHs({ sub: undefined })],
  ...[
    "null",
    "true",
    "false",
    "0",
    "-1",
    "1.5",
    "1e21",
    "9007199254740992",
    '""',
    '" "',
    '"a b"',
    '"ä"',
    '"\\u0000"',
    "[]",
    "[42]",
    "{}",
    '{"id":42}',
  ].map((sub): Case => [`sub ${sub}`, onHs, () => byHsText(`"sub":${sub}`)]),
  ["a sub of 129 characters", onHs, () => byHs({ sub: "x".repeat(129) })],
  ["a sub that the last of its duplicates spoils", onHs, () => byHsText('"sub":"42","sub":null')],
  ["an exp that the last of its duplicates spoils", onHs, () => byHsText('"exp":4102444800,"exp":1')],
  [
    "extras one character too long",
    onHs,
    () => byHs({ extras: { a: "x".repeat(MAX_EXTRAS_BYTES - '{"a":""}'.length + 1) } }),
  ],
  ...["[]", "[1]", '"x"', "1", "true"].map((extras): Case => [
    `extras ${extras}`,
    onHs,
    () => byHsText(`"extras":${extras}`),
  ]),
  ["a database with other keys", onHs, () => byEs()],
  ["a database with a secret, on one with keys", onEs, () => byHs()],
];

/** How many there are: a table that loses cases by mistake does not pass. */
const COUNT = 181;
const HOSTILE: Case[] = [
  ...ALGORITHMS,
  ...TIMES,
  ...PARTIES,
  ...KEYS,
  ...SHAPES,
  ...ENCODINGS,
  ...SIGNATURES,
  ...CLAIMS,
];

/** Each endpoint's answer to a credential: the code of the refusal, or "yes". */
async function answersTo(channel: string, token: string): Promise<Record<string, string>> {
  const bearer = { Authorization: `Bearer ${token}` };
  // A subprotocol's name holds fewer characters than a header may; what it cannot hold is sent as a header.
  const protocol: Record<string, string> = /^[\w.!#$%&'*+^`|~-]+$/.test(token)
    ? { "Sec-WebSocket-Protocol": `durable-channels.v1, ${token}` }
    : bearer;
  const socket = await open(`${pathOf(channel)}/socket`, protocol);
  if (typeof socket !== "string") socket.socket.close();
  return {
    history: await outcomeOf(await ask(`${pathOf(channel)}/messages`, { headers: bearer })),
    presence: await outcomeOf(await ask(`${pathOf(channel)}/presence`, { headers: bearer })),
    publish: await outcomeOf(await post("/message", { channel, message: "by a token" }, bearer)),
    settings: await outcomeOf(await ask(pathOf(channel), { headers: bearer })),
    socket: typeof socket === "string" ? socket : "yes",
    "/rt/": await joinOverMany(channel, protocol),
  };
}

async function joinOverMany(channel: string, headers: Record<string, string>): Promise<string> {
  const socket = await open("/rt/canonical", headers);
  if (typeof socket === "string") return socket;
  socket.send({ action: "join", options: { channel } });
  const { action, payload } = await socket.frame();
  socket.socket.close();
  return action === "join" ? "yes" : (payload as { code: string }).code;
}

const REFUSED = {
  history: "unauthorized",
  presence: "unauthorized",
  publish: "unauthorized",
  settings: "unauthorized",
  socket: "unauthorized",
  "/rt/": "unauthorized",
};
const ACCEPTED = {
  history: "yes",
  presence: "yes",
  publish: "yes",
  settings: "unauthorized",
  socket: "yes",
  "/rt/": "yes",
};

async function seqOf(channel: string): Promise<number> {
  return (await (await ask(`${pathOf(channel)}/messages`, { headers: BY_API_KEY })).json<{ seq: number }>()).seq;
}

describe("a hostile token is refused at every endpoint, where an anonymous client is admitted too (AUT1, AUT6)", () => {
  it("there are as many as expected", () => {
    expect(HOSTILE.length).toBe(COUNT);
    expect(new Set(HOSTILE.map(([name]) => name)).size).toBe(COUNT);
  });

  it.each(HOSTILE)("%s", async (_, on, make) => {
    const { channel } = on();
    const before = await seqOf(channel);
    expect(await answersTo(channel, await make())).toEqual(REFUSED);
    expect(await seqOf(channel)).toBe(before);
  });
});

describe("a good token is accepted at every endpoint", () => {
  const GOOD: Case[] = [
    ["minted here", onHs, () => tokenOf(hs.database, 42)],
    ["signed by the secret", onHs, () => byHs()],
    ["by ES256", onEs, () => byEs()],
    ["by RS256", onRs, () => byKey("RS256")],
    ["without kid, where there is one key", onEs, () => byEs({ kid: undefined })],
    ["for several audiences", onEs, () => byEs({}, { aud: ["mail", AUDIENCE] })],
    [
      "with a key of its own in the header, which does not count",
      onEs,
      () => byEs({ jwk: strangerJwk, jku: "https://evil.test" }),
    ],
    ["that becomes valid within the leeway", onEs, () => byEs({}, { nbf: now() + 1 })],
    ["with a sub of 128 characters", onHs, () => byHs({ sub: "x".repeat(128) })],
    ["with a number as sub", onHs, () => byHs({ sub: 42 })],
    ["whose last duplicate is good", onHs, () => byHsText('"sub":null,"sub":"42"')],
    [
      "with extras that are as long as allowed",
      onHs,
      () => byHs({ extras: { a: "x".repeat(MAX_EXTRAS_BYTES - '{"a":""}'.length) } }),
    ],
    ["with __proto__ among its extras", onHs, () => byHsText('"extras":{"__proto__":{"kind":"server"}}')],
    ["with __proto__ among its claims", onHs, () => byHsText('"__proto__":{"kind":"server","exp":1}')],
    ["with extras null", onHs, () => byHsText('"extras":null')],
  ];
  it.each(GOOD)("%s", async (_, on, make) => {
    expect(await answersTo(on().channel, await make())).toEqual(ACCEPTED);
  });
});

describe("a credential that is no Bearer token (AUT1)", () => {
  it.each([
    "Basic Zmlyc3Qta2V5Og==",
    "Bearer",
    "Bearer ",
    "first-key",
    "Token first-key",
    "Bearer first-key second-key",
    "Bearer first-key, Bearer second-key",
    "Bearer\tfirst-key",
    "Bearer:first-key",
    "Bearer ä",
  ])("%j is refused", async (value) => {
    const { channel } = hs;
    const headers = { Authorization: value };
    expect(await outcomeOf(await ask(`${pathOf(channel)}/messages`, { headers }))).toBe("unauthorized");
    expect(await outcomeOf(await post("/message", { channel, message: 1 }, headers))).toBe("unauthorized");
    expect(await open(`${pathOf(channel)}/socket`, headers)).toBe("unauthorized");
    expect(await open("/rt/canonical", headers)).toBe("unauthorized");
  });
});
