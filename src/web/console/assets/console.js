// Asks before a form that cannot be undone is sent, shows times in the zone of the browser, and loads the live parts of a
// page anew when the server says that something has changed. Pages work without it.
document.addEventListener('submit', (event) => {
  const question = event.target.dataset.confirm;
  if (question !== undefined && !globalThis.confirm(question)) event.preventDefault();
});

function showZone(root) {
  for (const time of root.querySelectorAll('time[datetime]')) {
    time.title = new Date(time.dateTime).toLocaleString();
  }
}
showZone(document);

const betweenLoadsMs = 2_000;
const reconnectMs = 10_000;
let stream;
let reconnect;
let version;
let isLoading = false;
let isStale = false;

// A part in which somebody is at work stays as it is.
const isInUse = (part) =>
  part.contains(document.activeElement) ||
  part.querySelector('details[open]') !== null ||
  (globalThis.getSelection()?.isCollapsed === false &&
    part.contains(globalThis.getSelection().anchorNode));

async function loadParts() {
  if (isLoading) {
    isStale = true;
    return;
  }
  isLoading = true;
  isStale = false;
  try {
    const answer = await fetch(location.href, { headers: { accept: 'text/html' } });
    // The session has ended: the page itself leads to the login.
    if (answer.redirected || answer.status === 401) location.reload();
    if (answer.ok) {
      const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
      for (const part of document.querySelectorAll('[data-live]')) {
        const loaded = page.getElementById(part.id);
        if (loaded === null || isInUse(part)) continue;
        part.replaceChildren(...loaded.childNodes);
        showZone(part);
      }
    }
  } catch {
    // The server is away; the stream tells when it is back.
  }
  setTimeout(() => {
    isLoading = false;
    if (isStale && stream !== undefined) void loadParts();
  }, betweenLoadsMs);
}

function follow() {
  if (stream !== undefined) return;
  stream = new EventSource('/events');
  stream.addEventListener('version', ({ data }) => {
    if (data === version) return;
    version = data;
    void loadParts();
  });
  stream.addEventListener('error', () => {
    // Refused, and the browser does not try again.
    if (stream?.readyState !== EventSource.CLOSED) return;
    unfollow();
    reconnect = setTimeout(follow, reconnectMs);
    void loadParts();
  });
}

function unfollow() {
  clearTimeout(reconnect);
  stream?.close();
  stream = undefined;
}

const followWhileVisible = () => (document.hidden ? unfollow() : follow());
if (document.querySelector('[data-live]') !== null) {
  document.addEventListener('visibilitychange', followWhileVisible);
  globalThis.addEventListener('pagehide', unfollow);
  globalThis.addEventListener('pageshow', followWhileVisible);
}
