// Whose page it is, and the page that was last served: shared by the views, kept as long as the tab.
import { post } from "./api.js";

const USER = "upnext.user";
const PAGE = "upnext.page";
const ANSWERS = "upnext.answers";

export const state = {
  user: sessionStorage.getItem(USER),
  pageId: sessionStorage.getItem(PAGE) ?? "",
  page: null, // of this user, as served
  answers: JSON.parse(sessionStorage.getItem(ANSWERS) ?? "[]"), // the rows of it that are answers of their own: [title, id]
};

const listeners = new Set();

export const onUser = (work) => listeners.add(work);

/** Another user, or nobody (null). */
export function setUser(user) {
  if (user === state.user) return;
  Object.assign(state, { user, page: null, pageId: "", answers: [] });
  if (user === null) sessionStorage.removeItem(USER);
  else sessionStorage.setItem(USER, user);
  sessionStorage.removeItem(PAGE);
  sessionStorage.removeItem(ANSWERS);
  for (const work of listeners) work();
}

/** Ask for the page anew. */
export async function servePage(options) {
  const user = state.user;
  const page = await post("/v1/console/page", { user_id: user }, options);
  if (user === state.user) {
    page.served_at = Date.now();
    state.page = page;
    state.pageId = page.rows[0]?.key === "for_you" ? page.rows[0].recommendation_id : "";
    state.answers = page.rows.filter((row) => ["for_you", "because"].includes(row.key)).map((row) => [row.title, row.recommendation_id]);
    sessionStorage.setItem(PAGE, state.pageId);
    sessionStorage.setItem(ANSWERS, JSON.stringify(state.answers));
  }
  return page;
}

/** What was served no longer holds: the next look at the page asks for it anew. The x-ray still finds the old one. */
export function forgetPage() {
  state.page = null;
}

/** Something that the user did, as a real event. */
export function sendEvent(type, item, details = {}) {
  return post("/v1/events", {
    event_type: type,
    user_id: state.user,
    item_id: item.item_id,
    recommendation_id: item.recommendation_id,
    position: item.position,
    surface: "console",
    ...details,
  });
}

/** A name that nobody has. */
export function newUser() {
  const letters = crypto.getRandomValues(new Uint32Array(1))[0].toString(36).slice(0, 5);
  return `guest-${letters}`;
}
