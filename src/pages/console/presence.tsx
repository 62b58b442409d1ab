import type { Connection } from "./connection.ts";

/** The members of the channel, kept up to date. */
export function Presence({ connection: { members, total } }: { connection: Connection }) {
  return (
    <>
      <p role="status">
        {total === 0 && "Nobody is here. API-key clients, such as this console, are not members."}
        {total > 0 && `${total} ${total === 1 ? "member is" : "members are"} here.`}
        {members.length < total && ` The first ${members.length} are listed.`}
      </p>
      {members.length > 0 && (
        <div class="scroll" tabIndex={0} role="region" aria-label="Members">
          <table>
            <thead>
              <tr>
                <th scope="col">User</th>
                <th scope="col">Database</th>
                <th scope="col">Extras</th>
                <th scope="col">Socket</th>
              </tr>
            </thead>
            <tbody>
              {members.map(({ socketId, permissions: { dbo_id, row_id }, extras }) => (
                <tr key={socketId}>
                  <td>{dbo_id === 0 ? "anonymous" : row_id}</td>
                  <td>{dbo_id === 0 ? "–" : dbo_id}</td>
                  <td>
                    <code>{JSON.stringify(extras)}</code>
                  </td>
                  <td>
                    <code>{socketId}</code>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </>
  );
}
