// The addresses of pages.

export const orderPath = (uid) => `/order/${encodeURIComponent(uid)}`;
