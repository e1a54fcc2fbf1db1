// What the pages of signing in say, in English and Chinese. Not here: the pages (pages.ts).

/** A language of the pages. */
export type Language = "en" | "zh";

const EN = {
  signIn: "Sign in",
  signInWith: "Sign in with",
  orPassword: "or with a password of this registry",
  name: "Name",
  password: "Password",
  signedInAs: "You are signed in as",
  signOut: "Sign out",
  signedOut: "You are signed out here.",
  notSignedIn: "You are not signed in",
  again: "Back to signing in",
  device: "Log a program in",
  deviceAsk: "A program asks to act as you. Type the code that it shows, and only if you have just started it yourself.",
  code: "Code",
  next: "Continue",
  deviceWants: "asks to be logged in as you. It was started at the address",
  deviceMay: "It gets a token that lets it do",
  deviceAll: "all that you may",
  deviceUntil: "for at most",
  days: "days",
  deviceWarning: "If somebody sent you this code, deny it: he would act as you.",
  allow: "Allow",
  deny: "Deny",
  allowed: "The program is logged in. You can close this page; the token is in your list of tokens.",
  denied: "The program was denied. You can close this page.",
  codeWrong: "There is no such code, or its time is over. Start again in the program.",
} as const;

/** One text for each. */
export type Texts = Readonly<Record<keyof typeof EN, string>>;

const ZH: Texts = {
  signIn: "登录",
  signInWith: "登录方式：",
  orPassword: "或使用本镜像仓库的密码",
  name: "用户名",
  password: "密码",
  signedInAs: "您已登录为",
  signOut: "退出登录",
  signedOut: "您已在此处退出登录。",
  notSignedIn: "登录未成功",
  again: "返回登录",
  device: "授权程序登录",
  deviceAsk: "有程序请求以您的身份操作。请输入它显示的代码；仅当该程序是您刚刚自己启动的时候才这样做。",
  code: "代码",
  next: "继续",
  deviceWants: "请求以您的身份登录。它是从以下地址启动的：",
  deviceMay: "它将获得一个令牌，允许执行：",
  deviceAll: "您可以执行的所有操作",
  deviceUntil: "最长有效期：",
  days: "天",
  deviceWarning: "如果此代码是别人发给您的，请拒绝：对方将能以您的身份操作。",
  allow: "允许",
  deny: "拒绝",
  allowed: "程序已登录。您可以关闭此页面；该令牌在您的令牌列表中。",
  denied: "已拒绝该程序。您可以关闭此页面。",
  codeWrong: "没有此代码，或其已过期。请在程序中重新开始。",
};

const TEXTS: Readonly<Record<Language, Texts>> = { en: EN, zh: ZH };

/** Of the languages that somebody reads, the first that there is. Source: RFC 9110, section 12.5.4. */
export function chooseLanguage(acceptLanguage: string | undefined): Language {
  const wanted = (acceptLanguage ?? "")
    .slice(0, 500)
    .split(",")
    .map((each, index) => {
      const [tag = "", ...parameters] = each.trim().toLowerCase().split(";");
      const q = Number(
        parameters
          .find((parameter) => parameter.trim().startsWith("q="))
          ?.trim()
          .slice(2) ?? "1",
      );
      return { tag: tag.split("-")[0], q: Number.isFinite(q) ? q : 0, index };
    })
    .filter(({ tag, q }) => q > 0 && (tag === "en" || tag === "zh"))
    .toSorted((one, other) => other.q - one.q || one.index - other.index);
  return wanted[0]?.tag === "zh" ? "zh" : "en";
}

/** The texts of a language. */
export function textsOf(language: Language): Texts {
  return TEXTS[language];
}
